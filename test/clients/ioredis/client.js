// ioredis with its default settings. usage: node client.js HOST PORT
"use strict";
const assert = require("node:assert");
const Redis = require("ioredis");

const [host, port] = [process.argv[2], Number(process.argv[3])];
let passed = 0;
let failed = 0;

async function step(name, run) {
  try {
    await run();
    passed += 1;
    console.log("ok", name);
  } catch (error) {
    failed += 1;
    console.log("FAIL", name, error.message);
  }
}

async function main() {
  const r = new Redis({ host, port });
  await step("strings", async () => {
    for (const value of [Buffer.from("text"), Buffer.alloc(0), Buffer.alloc(100000, "\x00\xff\r\n")]) {
      assert.strictEqual(await r.set("io:s", value), "OK");
      assert.ok(value.equals(await r.getBuffer("io:s")));
    }
    assert.strictEqual(await r.get("io:none"), null);
    await r.set("io:n", 1, "EX", 100);
    assert.strictEqual(await r.incr("io:n"), 2);
  });
  await step("many keys", async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `io:k${i}`);
    assert.strictEqual(await r.mset(...keys.flatMap((k) => [k, k])), "OK");
    assert.deepStrictEqual(await r.mget(...keys), keys);
    assert.strictEqual(await r.exists(...keys, "io:none"), 50);
    assert.strictEqual(await r.del(...keys), 50);
  });
  await step("structures", async () => {
    await r.del("io:h", "io:l", "io:set", "io:z");
    await r.hset("io:h", { f: "v" });
    assert.deepStrictEqual(await r.hgetall("io:h"), { f: "v" });
    assert.deepStrictEqual(await r.hscan("io:h", 0), ["0", ["f", "v"]]);
    await r.rpush("io:l", "a", "b");
    assert.deepStrictEqual(await r.lrange("io:l", 0, -1), ["a", "b"]);
    await r.sadd("io:set", 1);
    assert.deepStrictEqual(await r.smembers("io:set"), ["1"]);
    await r.zadd("io:z", 1.5, "m");
    assert.strictEqual(await r.zscore("io:z", "m"), "1.5");
  });
  await step("pipeline of 1,000", async () => {
    const pipeline = r.pipeline();
    for (let i = 0; i < 1000; i += 1) pipeline.set(`io:p${i}`, i);
    for (const [error, reply] of await pipeline.exec()) assert.deepStrictEqual([error, reply], [null, "OK"]);
  });
  await step("MULTI", async () => {
    await r.del("{io}t");
    assert.deepStrictEqual(await r.multi().incr("{io}t").incr("{io}t").exec(), [[null, 1], [null, 2]]);
  });
  await step("WATCH", async () => {
    await r.set("{io}w", 1);
    await r.watch("{io}w");
    const n = Number(await r.get("{io}w"));
    assert.deepStrictEqual(await r.multi().set("{io}w", n + 1).exec(), [[null, "OK"]]);
    await r.watch("{io}w");
    const other = new Redis({ host, port });
    await other.set("{io}w", 9);
    other.disconnect();
    assert.strictEqual(await r.multi().set("{io}w", 3).exec(), null);
  });
  await step("BLPOP", async () => {
    await r.del("{io}q");
    const blocked = new Redis({ host, port });
    setTimeout(() => r.lpush("{io}q", "job"), 200);
    assert.deepStrictEqual(await blocked.blpop("{io}q", 5), ["{io}q", "job"]);
    assert.strictEqual(await blocked.blpop("{io}q", 0.5), null);
    blocked.disconnect();
  });
  await step("EVAL", async () => {
    assert.deepStrictEqual(await r.eval("return {KEYS[1],ARGV[1]}", 1, "io:e", "x"), ["io:e", "x"]);
    r.defineCommand("joined", { numberOfKeys: 1, lua: "return KEYS[1]..ARGV[1]" }); // EVALSHA, then EVAL
    assert.strictEqual(await r.joined("io:e", "x"), "io:ex");
  });
  await step("errors", async () => {
    await assert.rejects(r.call("NOSUCHCOMMAND", "x"), /unknown command/);
    await r.del("io:l");
    await r.rpush("io:l", "x");
    await assert.rejects(r.incr("io:l"), /WRONGTYPE/);
    assert.strictEqual(await r.ping(), "PONG");
  });
  await step("reconnect", async () => {
    r.disconnect(true);
    assert.strictEqual(await r.ping(), "PONG");
    const named = new Redis({ host, port, connectionName: "cashew", db: 0 });
    assert.strictEqual(await named.client("GETNAME"), "cashew");
    named.disconnect();
  });
  r.disconnect();
  console.log("library ioredis", require("ioredis/package.json").version);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
