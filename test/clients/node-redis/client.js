// node-redis with its default settings. usage: node client.js HOST PORT [PROTOCOL]
"use strict";
const assert = require("node:assert");
const { createClient, ErrorReply, RESP_TYPES, WatchError } = require("redis");

const options = { url: `redis://${process.argv[2]}:${process.argv[3]}` };
if (process.argv[4]) options.RESP = Number(process.argv[4]);
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

async function connect(more) {
  const client = createClient({ ...options, ...more });
  client.on("error", () => {});
  await client.connect();
  return client;
}

// Runs with a connection of its own.
async function beside(run, more) {
  const other = await connect(more);
  try {
    await run(other);
  } finally {
    other.destroy();
  }
}

const same = assert.deepStrictEqual;

// The error must be the library's ordinary reply error.
function replyError(text) {
  return (error) => error instanceof ErrorReply && error.message.includes(text);
}

async function main() {
  const r = await connect();
  await step("HELLO", async () => {
    console.log("hello", JSON.stringify(await r.sendCommand(["HELLO"])));
  });
  await step("strings", async () => {
    const binary = Buffer.alloc(100 * 1024, Buffer.from([0, 0xff, 13, 10]));
    const buffers = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    for (const value of [Buffer.from("text"), Buffer.alloc(0), binary]) {
      same(await r.set("no:s", value), "OK");
      assert.ok(value.equals(await buffers.get("no:s")), "value");
    }
    same(await r.get("no:none"), null);
  });
  await step("counter", async () => {
    await r.set("no:n", "1");
    same(await r.incr("no:n"), 2);
    same(await r.ttl("no:n"), -1);
    same(await r.expire("no:n", 100), 1);
    assert.ok((await r.ttl("no:n")) > 90, "TTL");
  });
  await step("many keys", async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `no:k${i}`);
    same(await r.mSet(keys.flatMap((k) => [k, k])), "OK");
    same(await r.mGet([...keys, "no:none"]), [...keys, null]);
    same(await r.exists([...keys, "no:none"]), 50);
    same(await r.del([...keys, "no:none"]), 50);
  });
  await step("hash", async () => {
    await r.del("no:h");
    same(await r.hSet("no:h", "f", "v"), 1);
    same(await r.hGet("no:h", "f"), "v");
    same({ ...(await r.hGetAll("no:h")) }, { f: "v" });
  });
  await step("list", async () => {
    await r.del("no:l");
    same(await r.rPush("no:l", ["a", "b", "c"]), 3);
    same(await r.lRange("no:l", 0, -1), ["a", "b", "c"]);
    same(await r.lPop("no:l"), "a");
  });
  await step("set", async () => {
    await r.del("no:set");
    same(await r.sAdd("no:set", ["1", "2"]), 2);
    same([...(await r.sMembers("no:set"))].sort(), ["1", "2"]);
    same(await r.sIsMember("no:set", "1"), 1);
  });
  await step("sorted set", async () => {
    const members = [{ value: "m", score: 1.5 }, { value: "n", score: 2 }];
    await r.del("no:z");
    same(await r.zAdd("no:z", members), 2);
    same(await r.zScore("no:z", "m"), 1.5);
    same(await r.zRangeWithScores("no:z", 0, -1), members);
  });
  await step("HSCAN", async () => {
    const fields = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`f${i}`, `v${i}`]));
    await r.del("no:big");
    await r.hSet("no:big", fields);
    const got = {};
    for await (const page of r.hScanIterator("no:big")) {
      for (const { field, value } of page) got[field] = value;
    }
    same(got, fields);
  });
  await step("pipeline of 1,000", async () => {
    const commands = [];
    const want = [];
    for (let i = 0; i < 500; i += 1) {
      commands.push(r.set(`no:p${i}`, `${i}`), r.get(`no:p${i}`));
      want.push("OK", `${i}`);
    }
    same(await Promise.all(commands), want);
  });
  await step("MULTI", async () => {
    await r.del(["{no}t", "{no}u"]);
    same(await r.multi().incr("{no}t").set("{no}u", "x").get("{no}t").exec(), [1, "OK", "1"]);
  });
  await step("WATCH", async () => {
    await r.set("{no}w", "1");
    await beside(async (own) => {
      await own.watch("{no}w");
      const n = Number(await own.get("{no}w"));
      same(await own.multi().set("{no}w", String(n + 1)).exec(), ["OK"]);
    });
    same(await r.get("{no}w"), "2");
  });
  await step("WATCH conflict", async () => {
    await beside(async (own) => {
      await own.watch("{no}w");
      await r.set("{no}w", "9");
      await assert.rejects(own.multi().set("{no}w", "3").exec(), WatchError);
    });
    same(await r.get("{no}w"), "9");
  });
  await step("BLPOP", async () => {
    await r.del("{no}q");
    await beside(async (blocked) => {
      setTimeout(() => r.lPush("{no}q", "job"), 200);
      same({ ...(await blocked.blPop("{no}q", 5)) }, { key: "{no}q", element: "job" });
    });
  });
  await step("BLPOP time-out", () => beside(async (r) => same(await r.blPop("{no}q", 0.5), null)));
  await step("EVAL", async () => {
    const reply = await r.eval("return {KEYS[1],ARGV[1]}", { keys: ["no:e"], arguments: ["x"] });
    same(reply, ["no:e", "x"]);
  });
  await step("unknown command", async () => {
    await assert.rejects(r.sendCommand(["NOSUCHCOMMAND", "x"]), replyError("unknown command"));
    same(await r.ping(), "PONG");
  });
  await step("WRONGTYPE", async () => {
    await r.del("no:l");
    await r.rPush("no:l", "x");
    await assert.rejects(r.incr("no:l"), replyError("WRONGTYPE"));
    same(await r.lPop("no:l"), "x");
  });
  await step("SELECT and name", async () => {
    const check = async (named) => {
      same(await named.select(0), undefined);
      same(await named.clientGetName(), "cashew");
    };
    await beside(check, { name: "cashew", database: 0 });
  });
  await step("reconnect", async () => {
    await r.set("no:r", "1");
    const ready = new Promise((resolve) => r.once("ready", resolve));
    await r.sendCommand(["QUIT"]); // the other side closes; the library connects again by itself
    await ready;
    same(await r.get("no:r"), "1");
  });
  r.destroy();
  console.log("library node-redis", require("redis/package.json").version);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
