"""redis-py with its default settings. usage: client.py HOST PORT [PROTOCOL]"""

import sys
import threading
import time

import redis

HOST, PORT = sys.argv[1], int(sys.argv[2])
OPTIONS = {"protocol": int(sys.argv[3])} if len(sys.argv) > 3 else {}
failed = passed = 0


def connect(**more):
    return redis.Redis(host=HOST, port=PORT, **OPTIONS, **more)


def step(name):
    def run(function):
        global failed, passed
        try:
            function(connect())
            passed += 1
            print("ok", name)
        except Exception as error:  # whatever the library raises is a failure of the step
            failed += 1
            print("FAIL %s %s: %s" % (name, type(error).__name__, error))

    return run


def same(got, want):
    assert got == want, "got %.200r, not %.200r" % (got, want)


def fails(text, function, *words):
    """The library's ordinary reply error, and the connection goes on working."""
    try:
        reply = function(*words)
    except redis.ResponseError as error:
        assert text in str(error), str(error)
    else:
        raise AssertionError("got %.200r, not an error" % (reply,))


@step("HELLO")
def _(r):
    print("hello", r.execute_command("HELLO"))


@step("strings")
def _(r):
    for value in (b"text", b"", bytes(range(256)) * 400):
        same(r.set("py:s", value), True)
        same(r.get("py:s"), value)
    same(r.get("py:none"), None)


@step("counter")
def _(r):
    r.set("py:n", 1)
    same(r.incr("py:n"), 2)
    same(r.ttl("py:n"), -1)
    same(r.expire("py:n", 100), True)
    assert 90 < r.ttl("py:n") <= 100


@step("many keys")
def _(r):
    keys = ["py:k%d" % i for i in range(50)]
    same(r.mset({k: k for k in keys}), True)
    same(r.mget([*keys, "py:none"]), [k.encode() for k in keys] + [None])
    same(r.exists(*keys, "py:none"), 50)
    same(r.delete(*keys, "py:none"), 50)


@step("hash")
def _(r):
    r.delete("py:h")
    same(r.hset("py:h", "f", "v"), 1)
    same(r.hget("py:h", "f"), b"v")
    same(r.hgetall("py:h"), {b"f": b"v"})


@step("list")
def _(r):
    r.delete("py:l")
    same(r.rpush("py:l", "a", "b", "c"), 3)
    same(r.lrange("py:l", 0, -1), [b"a", b"b", b"c"])
    same(r.lpop("py:l"), b"a")


@step("set")
def _(r):
    r.delete("py:set")
    same(r.sadd("py:set", "a", "b"), 2)
    same(r.smembers("py:set"), {b"a", b"b"})
    same(bool(r.sismember("py:set", "a")), True)


@step("sorted set")
def _(r):
    r.delete("py:z")
    same(r.zadd("py:z", {"m": 1.5, "n": 2}), 2)
    same(r.zscore("py:z", "m"), 1.5)
    same([tuple(x) for x in r.zrange("py:z", 0, -1, withscores=True)], [(b"m", 1.5), (b"n", 2)])


@step("HSCAN")
def _(r):
    r.delete("py:big")
    fields = {"f%d" % i: "v%d" % i for i in range(1000)}
    r.hset("py:big", mapping=fields)
    got = {f.decode(): v.decode() for f, v in r.hscan_iter("py:big")}
    same(got, fields)


@step("pipeline of 1,000")
def _(r):
    pipe = r.pipeline(transaction=False)
    for i in range(500):
        pipe.set("py:p%d" % i, i)
        pipe.get("py:p%d" % i)
    same(pipe.execute(), [x for i in range(500) for x in (True, b"%d" % i)])


@step("MULTI")
def _(r):
    r.delete("{py}t", "{py}u")
    same(r.pipeline().incr("{py}t").set("{py}u", "x").get("{py}t").execute(), [1, True, b"1"])


@step("WATCH")
def _(r):
    r.set("{py}w", 1)

    def increment(pipe):
        value = int(pipe.get("{py}w"))
        pipe.multi()
        pipe.set("{py}w", value + 1)

    same(r.transaction(increment, "{py}w"), [True])
    same(r.get("{py}w"), b"2")


@step("WATCH conflict")
def _(r):
    with r.pipeline() as pipe:
        pipe.watch("{py}w")
        connect().set("{py}w", 9)
        pipe.multi()
        pipe.set("{py}w", 3)
        try:
            pipe.execute()
            raise AssertionError("EXEC did not notice")
        except redis.WatchError:
            pass
    same(r.get("{py}w"), b"9")


@step("BLPOP")
def _(r):
    r.delete("{py}q")
    threading.Timer(0.2, lambda: connect().lpush("{py}q", "job")).start()
    same(tuple(r.blpop("{py}q", timeout=5)), (b"{py}q", b"job"))


@step("BLPOP time-out")
def _(r):
    began = time.monotonic()
    same(r.blpop("{py}q", timeout=1), None)
    assert time.monotonic() - began > 0.9


@step("EVAL")
def _(r):
    same(r.eval("return {KEYS[1],ARGV[1]}", 1, "py:e", "x"), [b"py:e", b"x"])


@step("unknown command")
def _(r):
    fails("unknown command", r.execute_command, "NOSUCHCOMMAND", "x")
    same(r.ping(), True)


@step("WRONGTYPE")
def _(r):
    r.delete("py:l")
    r.rpush("py:l", "x")
    fails("WRONGTYPE", r.incr, "py:l")
    same(r.lpop("py:l"), b"x")


@step("SELECT and name")
def _(_default):
    named = connect(db=0, client_name="cashew")
    same(named.execute_command("SELECT", 0) in (True, b"OK"), True)
    assert named.client_getname() in (b"cashew", "cashew")


@step("reconnect")
def _(r):
    r.set("py:r", 1)
    r.execute_command("QUIT")  # the other side closes
    time.sleep(0.1)
    same(r.get("py:r"), b"1")
    r.connection_pool.disconnect()  # this side does
    same(r.get("py:r"), b"1")


print("library redis-py %s" % redis.__version__)
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed else 0)
