// ioredis with its default settings. usage: node client.js HOST PORT [PROTOCOL]
"use strict";
const assert = require("node:assert");
const Redis = require("ioredis");

const options = { host: process.argv[2], port: Number(process.argv[3]) };
if (process.argv[4]) options.protocol = Number(process.argv[4]);
let passed = 0;
let failed = 0;

async function step(name, run) {
  try {
    await run();
    passed += 1;
    console.log("ok", name);
  } catch (error) {
    failed += 1;
    console.log("FAIL", name, error.message.replaceAll("\n", " "));
  }
}

// Runs with a connection of its own.
async function beside(run) {
  const other = new Redis(options);
  try {
    await run(other);
  } finally {
    other.disconnect();
  }
}

const same = assert.deepStrictEqual;

async function main() {
  const r = new Redis(options);
  await step("HELLO", async () => console.log("hello", JSON.stringify(await r.call("HELLO"))));
  await step("strings", async () => {
    const binary = Buffer.alloc(100 * 1024, Buffer.from([0, 0xff, 13, 10]));
    for (const value of [Buffer.from("text"), Buffer.alloc(0), binary]) {
      same(await r.set("io:s", value), "OK");
      assert.ok(value.equals(await r.getBuffer("io:s")), "value");
    }
    same(await r.get("io:none"), null);
  });
  await step("counter", async () => {
    await r.set("io:n", 1);
    same(await r.incr("io:n"), 2);
    same(await r.ttl("io:n"), -1);
    same(await r.expire("io:n", 100), 1);
    assert.ok((await r.ttl("io:n")) > 90, "TTL");
  });
  await step("many keys", async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `io:k${i}`);
    same(await r.mset(...keys.flatMap((k) => [k, k])), "OK");
    same(await r.mget(...keys, "io:none"), [...keys, null]);
    same(await r.exists(...keys, "io:none"), 50);
    same(await r.del(...keys, "io:none"), 50);
  });
  await step("hash", async () => {
    await r.del("io:h");
    same(await r.hset("io:h", { f: "v" }), 1);
    same(await r.hget("io:h", "f"), "v");
    same(await r.hgetall("io:h"), { f: "v" });
  });
  await step("list", async () => {
    await r.del("io:l");
    same(await r.rpush("io:l", "a", "b", "c"), 3);
    same(await r.lrange("io:l", 0, -1), ["a", "b", "c"]);
    same(await r.lpop("io:l"), "a");
  });
  await step("set", async () => {
    await r.del("io:set");
    same(await r.sadd("io:set", 1, 2), 2);
    same((await r.smembers("io:set")).sort(), ["1", "2"]);
    same(await r.sismember("io:set", 1), 1);
  });
  await step("sorted set", async () => {
    await r.del("io:z");
    same(await r.zadd("io:z", 1.5, "m", 2, "n"), 2);
    same(await r.zscore("io:z", "m"), "1.5");
    same(await r.zrange("io:z", 0, -1, "WITHSCORES"), ["m", "1.5", "n", "2"]);
  });
  await step("HSCAN", async () => {
    const fields = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`f${i}`, `v${i}`]));
    await r.del("io:big");
    await r.hset("io:big", fields);
    const got = {};
    for await (const page of r.hscanStream("io:big")) {
      for (let i = 0; i < page.length; i += 2) got[page[i]] = page[i + 1];
    }
    same(got, fields);
  });
  await step("pipeline of 1,000", async () => {
    const pipeline = r.pipeline();
    for (let i = 0; i < 500; i += 1) pipeline.set(`io:p${i}`, i).get(`io:p${i}`);
    const want = Array.from({ length: 1000 }, (_, i) => [null, i % 2 ? `${(i - 1) / 2}` : "OK"]);
    same(await pipeline.exec(), want);
  });
  await step("MULTI", async () => {
    await r.del("{io}t", "{io}u");
    const replies = await r.multi().incr("{io}t").set("{io}u", "x").get("{io}t").exec();
    same(replies, [[null, 1], [null, "OK"], [null, "1"]]);
  });
  await step("WATCH", async () => {
    await r.set("{io}w", 1);
    await r.watch("{io}w");
    const n = Number(await r.get("{io}w"));
    same(await r.multi().set("{io}w", n + 1).exec(), [[null, "OK"]]);
    same(await r.get("{io}w"), "2");
  });
  await step("WATCH conflict", async () => {
    await r.watch("{io}w");
    await beside((other) => other.set("{io}w", 9));
    same(await r.multi().set("{io}w", 3).exec(), null);
    same(await r.get("{io}w"), "9");
  });
  await step("BLPOP", async () => {
    await r.del("{io}q");
    await beside(async (blocked) => {
      setTimeout(() => r.lpush("{io}q", "job"), 200);
      same(await blocked.blpop("{io}q", 5), ["{io}q", "job"]);
    });
  });
  await step("BLPOP time-out", () => beside(async (r) => same(await r.blpop("{io}q", 0.5), null)));
  await step("EVAL", async () => {
    same(await r.eval("return {KEYS[1],ARGV[1]}", 1, "io:e", "x"), ["io:e", "x"]);
    // A script of its own is sent by EVALSHA, then, where it is not known, by EVAL.
    r.defineCommand("joined", { numberOfKeys: 1, lua: "return KEYS[1]..ARGV[1]" });
    same(await r.joined("io:e", "x"), "io:ex");
  });
  await step("unknown command", async () => {
    const error = { name: "ReplyError", message: /unknown command/ };
    await assert.rejects(r.call("NOSUCHCOMMAND", "x"), error);
    same(await r.ping(), "PONG");
  });
  await step("WRONGTYPE", async () => {
    await r.del("io:l");
    await r.rpush("io:l", "x");
    await assert.rejects(r.incr("io:l"), { name: "ReplyError", message: /^WRONGTYPE/ });
    same(await r.lpop("io:l"), "x");
  });
  await step("SELECT and name", async () => {
    const named = new Redis({ ...options, connectionName: "cashew", db: 0 });
    same(await named.select(0), "OK");
    same(await named.client("GETNAME"), "cashew");
    named.disconnect();
  });
  await step("reconnect", async () => {
    await r.set("io:r", 1);
    const reconnecting = new Promise((resolve) => r.once("reconnecting", resolve));
    r.stream.destroy(); // lost, so that the library connects again by itself
    await reconnecting;
    same(await r.get("io:r"), "1");
  });
  r.disconnect();
  console.log("library ioredis", require("ioredis/package.json").version);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
