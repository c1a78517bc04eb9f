"""redis-py with its default settings. usage: client.py HOST PORT [PROTOCOL]"""

import sys
import threading
import time

import redis

HOST, PORT = sys.argv[1], int(sys.argv[2])
OPTIONS = {"protocol": int(sys.argv[3])} if len(sys.argv) > 3 else {}
failed = passed = 0


def connect():
    return redis.Redis(host=HOST, port=PORT, **OPTIONS)


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


@step("strings")
def _(r):
    for value in (b"text", b"", bytes(range(256)) * 400):
        assert r.set("py:s", value) and r.get("py:s") == value
    assert r.get("py:none") is None
    r.set("py:n", 1)
    assert r.incr("py:n") == 2
    assert r.expire("py:n", 100) and 0 < r.ttl("py:n") <= 100


@step("many keys")
def _(r):
    keys = ["py:k%d" % i for i in range(50)]
    r.mset({k: k for k in keys})
    assert r.mget(keys) == [k.encode() for k in keys]
    assert r.exists(*keys, "py:none") == 50
    assert r.delete(*keys) == 50


@step("structures")
def _(r):
    r.delete("py:h", "py:l", "py:set", "py:z")
    assert r.hset("py:h", "f", "v") == 1 and r.hgetall("py:h") == {b"f": b"v"}
    assert list(r.hscan_iter("py:h")) == [(b"f", b"v")]
    assert r.rpush("py:l", "a", "b") == 2 and r.lrange("py:l", 0, -1) == [b"a", b"b"]
    assert r.sadd("py:set", 1) == 1 and r.smembers("py:set") == {b"1"}
    assert r.zadd("py:z", {"m": 1.5}) == 1
    assert [tuple(x) for x in r.zrange("py:z", 0, -1, withscores=True)] == [(b"m", 1.5)]


@step("pipeline of 1,000")
def _(r):
    pipe = r.pipeline(transaction=False)
    for i in range(1000):
        pipe.set("py:p%d" % i, i)
    for i in range(1000):
        pipe.get("py:p%d" % i)
    replies = pipe.execute()
    assert replies == [True] * 1000 + [b"%d" % i for i in range(1000)]


@step("MULTI")
def _(r):
    r.delete("{py}t")
    assert r.pipeline().incr("{py}t").incr("{py}t").get("{py}t").execute() == [1, 2, b"2"]


@step("WATCH")
def _(r):
    r.set("{py}w", 1)

    def increment(pipe):
        value = int(pipe.get("{py}w"))
        pipe.multi()
        pipe.set("{py}w", value + 1)

    assert r.transaction(increment, "{py}w") == [True]
    assert r.get("{py}w") == b"2"


@step("BLPOP")
def _(r):
    r.delete("{py}q")
    threading.Timer(0.2, lambda: connect().lpush("{py}q", "job")).start()
    assert tuple(r.blpop("{py}q", timeout=5)) == (b"{py}q", b"job")
    began = time.monotonic()
    assert r.blpop("{py}q", timeout=1) is None and time.monotonic() - began > 0.9


@step("EVAL")
def _(r):
    assert r.eval("return {KEYS[1],ARGV[1]}", 1, "py:e", "x") == [b"py:e", b"x"]


@step("errors")
def _(r):
    for command in (("NOSUCHCOMMAND", "x"), ("SUBSCRIBEX",)):
        try:
            r.execute_command(*command)
            raise AssertionError("no error")
        except redis.ResponseError as error:
            assert "unknown command" in str(error)
    r.delete("py:l")
    r.rpush("py:l", "x")
    try:
        r.incr("py:l")
        raise AssertionError("no error")
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error)
    assert r.ping()


@step("reconnect")
def _(r):
    r.set("py:r", 1)
    r.connection_pool.disconnect()
    assert r.get("py:r") == b"1"
    named = redis.Redis(host=HOST, port=PORT, db=0, client_name="cashew", **OPTIONS)
    assert named.client_getname() in (b"cashew", "cashew")


print("library redis-py %s" % redis.__version__)
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed else 0)
