// node-redis with its default settings. usage: node client.js HOST PORT [PROTOCOL]
"use strict";
const assert = require("node:assert");
const { createClient } = require("redis");

const url = `redis://${process.argv[2]}:${process.argv[3]}`;
const options = process.argv[4] ? { url, RESP: Number(process.argv[4]) } : { url };
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

async function connect(more) {
  const client = createClient({ ...options, ...more });
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function main() {
  const r = await connect();
  await step("strings", async () => {
    for (const value of ["text", "", "x\r\n".repeat(30000)]) {
      assert.strictEqual(await r.set("no:s", value), "OK");
      assert.strictEqual(await r.get("no:s"), value);
    }
    assert.strictEqual(await r.get("no:none"), null);
    await r.set("no:n", "1", { EX: 100 });
    assert.strictEqual(await r.incr("no:n"), 2);
  });
  await step("many keys", async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `no:k${i}`);
    assert.strictEqual(await r.mSet(keys.flatMap((k) => [k, k])), "OK");
    assert.deepStrictEqual(await r.mGet(keys), keys);
    assert.strictEqual(await r.exists(keys), 50);
    assert.strictEqual(await r.del(keys), 50);
  });
  await step("structures", async () => {
    await r.del(["no:h", "no:l", "no:set", "no:z"]);
    await r.hSet("no:h", "f", "v");
    assert.deepStrictEqual({ ...(await r.hGetAll("no:h")) }, { f: "v" });
    await r.rPush("no:l", ["a", "b"]);
    assert.deepStrictEqual(await r.lRange("no:l", 0, -1), ["a", "b"]);
    await r.sAdd("no:set", "1");
    await r.zAdd("no:z", { score: 1.5, value: "m" });
    assert.strictEqual(await r.zScore("no:z", "m"), 1.5);
  });
  await step("pipeline of 1,000", async () => {
    const sets = Array.from({ length: 1000 }, (_, i) => r.set(`no:p${i}`, String(i)));
    assert.ok((await Promise.all(sets)).every((reply) => reply === "OK"));
  });
  await step("MULTI", async () => {
    await r.del("{no}t");
    assert.deepStrictEqual(await r.multi().incr("{no}t").incr("{no}t").exec(), [1, 2]);
  });
  await step("WATCH", async () => {
    await r.set("{no}w", "1");
    const own = await connect();
    await own.watch("{no}w");
    const n = Number(await own.get("{no}w"));
    assert.deepStrictEqual(await own.multi().set("{no}w", String(n + 1)).exec(), ["OK"]);
    own.destroy();
  });
  await step("BLPOP", async () => {
    await r.del("{no}q");
    const blocked = await connect();
    setTimeout(() => r.lPush("{no}q", "job"), 200);
    assert.deepStrictEqual({ ...(await blocked.blPop("{no}q", 5)) }, { key: "{no}q", element: "job" });
    assert.strictEqual(await blocked.blPop("{no}q", 0.5), null);
    blocked.destroy();
  });
  await step("EVAL", async () => {
    const reply = await r.eval("return {KEYS[1],ARGV[1]}", { keys: ["no:e"], arguments: ["x"] });
    assert.deepStrictEqual(reply, ["no:e", "x"]);
  });
  await step("errors", async () => {
    await assert.rejects(r.sendCommand(["NOSUCHCOMMAND", "x"]), /unknown command/);
    await r.del("no:l");
    await r.rPush("no:l", "x");
    await assert.rejects(r.incr("no:l"), /WRONGTYPE/);
    assert.strictEqual(await r.ping(), "PONG");
  });
  await step("reconnect", async () => {
    r.destroy();
    await r.connect();
    assert.strictEqual(await r.ping(), "PONG");
    const named = await connect({ name: "cashew", database: 0 });
    assert.strictEqual(await named.clientGetName(), "cashew");
    named.destroy();
  });
  r.destroy();
  console.log("library node-redis", require("redis/package.json").version);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
