"""The redis command table against a redis that holds all keys.

Every forwarded row of the table has examples in redis_examples.txt; each is run straight at
one redis-server and through Cashew, in front of one and of three, in RESP2 and RESP3, and the
replies must be the same bytes. CASHEW_TEST_SCALE multiplies the random part, CASHEW_TEST_SEED
repeats a run.
"""

import os
import random
import re

import pytest

from support import Proxy, Redis, RespClient, encode
from support.processes import REPOSITORY

pytestmark = pytest.mark.improved

HERE = os.path.dirname(os.path.abspath(__file__))
TAG = "{t}"
KEYS = ("k", "l", "d")
SCALE = float(os.environ.get("CASHEW_TEST_SCALE", "1"))
SEED = int(os.environ.get("CASHEW_TEST_SEED", random.randrange(1 << 32)))

FUNCTIONS = """#!lua name=model
redis.register_function('put', function(keys, args)
  if redis.call('type', keys[1]).ok == 'list' then return redis.error_reply('WRONGTYPE no') end
  return redis.call('set', keys[1], args[1]) end)
redis.register_function{function_name='take', flags={'no-writes'}, callback=function(keys, args)
  return redis.call('get', keys[1]) end}
"""
# Loaded at every server; then the examples of EVALSHA succeed.
SCRIPT = "return 1"
SCRIPT_SHA = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"

# Rows of the table whose arity is that of a newer server than the one tested against.
NEWER_ARITY = {"zrank", "zrevrank"}
# What the server calls blocking, admin or pub/sub, and the proxy may forward all the same.
FORWARDED_ALL_THE_SAME = {"xread", "xreadgroup"}  # without BLOCK they do not block


class Row:
    def __init__(self, maker, name, arity, arguments):
        self.maker, self.name, self.arity, self.arguments = maker, name, arity, arguments

    @property
    def forwarded(self):
        return self.maker in (
            "OneKey KeysAt Keyed SplitList SplitSum SplitOk Blocking BlockingKeyed".split()
        ) or (self.maker == "Row" and "H::kForward" in self.arguments)

    @property
    def split(self):
        return self.maker.startswith("Split")

    @property
    def blocking(self):
        return self.maker.startswith("Blocking")


def table():
    path = os.path.join(REPOSITORY, "pkg/protocol/redis/command_table.cc")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    body = text[text.index("kCommands[] = {") : text.index("\n};", text.index("kCommands[] = {"))]
    found = re.findall(r'(\w+)\(\s*"([^"]+)",\s*((?:[^()]|\([^()]*\))*)\)', body)
    rows = []
    for maker, name, rest in found:
        arity = -1 if maker == "Refused" else int(rest.split(",")[0])
        rows.append(Row(maker, name, arity, rest))
    assert len(rows) > 400, "the table is not where or what it was"
    return {row.name: row for row in rows}


ROWS = table()


class Example:
    def __init__(self, words, setup, fails, by_shape, lfu=False):
        self.words, self.setup, self.fails, self.by_shape = words, setup, fails, by_shape
        self.lfu = lfu
        two = "%s|%s" % (words[0], words[1]) if len(words) > 1 else ""
        self.row = ROWS[two] if two in ROWS else ROWS[words[0]]

    def __repr__(self):
        return " ".join(self.words)


def split_words(text):
    words = [("" if w == "''" else w) for w in text.split()]
    return [
        w.encode().decode("unicode_escape").encode("latin-1") if "\\" in w else w for w in words
    ]


def parse_setup(text):
    return [split_words(part) for part in text.split(";") if part.strip()]


def examples():
    with open(os.path.join(HERE, "redis_examples.txt"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    found = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        by_shape, lfu = line[0] in "~%", line[0] == "%"
        good, _, bad = line.lstrip("~%").partition("| error:")
        command, _, setup = good.partition("|")
        words, steps = split_words(command), parse_setup(setup)
        if words[0].startswith("evalsha"):  # known at the servers; the error is an unknown one
            good_words = [words[0], SCRIPT_SHA, *words[2:]]
        else:
            good_words = words
        found.append(Example(good_words, steps, False, by_shape, lfu))
        if bad:
            command, _, setup = bad.partition("|")
            found.append(Example(split_words(command), parse_setup(setup), True, False))
        else:
            strings = {"set"} if steps else set()
            first = steps[0][0] if steps else words[0]
            is_string = first in strings or (not steps and "kNutcracker" in words[0])
            wrong = ["rpush", "k", "x"] if is_string or first in ("pfadd",) else ["set", "k", "v"]
            found.append(Example(words, [wrong], True, False))
    return found


EXAMPLES = examples()


def bound(words, tag):
    """With keys named for the test; the command's own words never are single key letters."""
    return [words[0]] + [
        (tag + w if w in KEYS and not (words[0] == "linsert" and i > 2) else w)
        for i, w in enumerate(words[1:], 1)
    ]


@pytest.fixture(scope="module")
def direct():
    with Redis() as server:
        prepare(server)
        yield server


@pytest.fixture(scope="module")
def fronts():
    """Cashew before one server, and before three."""
    servers = [Redis() for _ in range(4)]
    for server in servers:
        prepare(server)
    pool = {"redis": True, "hash": "md5", "hash_tag": "{}", "timeout": 3000}
    pools = {
        "one": {**pool, "servers": servers[:1]},
        "three": {**pool, "servers": servers[1:]},
    }
    with Proxy(pools, settings={"workers": 1}) as proxy:
        yield proxy, servers
    for server in servers:
        server.close()


def prepare(server):
    with server.client() as client:
        client("FUNCTION", "LOAD", FUNCTIONS)
        assert client("SCRIPT", "LOAD", SCRIPT).decode() == SCRIPT_SHA


def empty(servers):
    for server in servers:
        server.ask("FLUSHALL")


def policy(servers, name):
    if name != policy.now:
        for server in servers:
            server.ask("CONFIG", "SET", "maxmemory-policy", name)
    policy.now = name


policy.now = "noeviction"


def shape(raw):
    """A reply without what its numbers and strings say."""
    return re.sub(rb"\d+", b"0", re.sub(rb"(?s)\$\d+\r\n.*?\r\n", b"$", raw))


def known_commands(server):
    with server.client() as client:
        return {c[0].decode(): c for c in flat(client("COMMAND"))}


def flat(commands):
    for command in commands:
        yield command
        if len(command) > 9:
            yield from flat(command[9])


def test_every_forwarded_row_has_a_success_and_an_error(direct):
    known = known_commands(direct)
    missing, unknown = [], []
    for row in ROWS.values():
        if not row.forwarded:
            continue
        if row.name not in known:
            unknown.append(row.name)
            continue
        kinds = {example.fails for example in EXAMPLES if example.row is row}
        if kinds != {True, False}:
            missing.append(row.name)
    print("rows that this server does not know: %d: %s" % (len(unknown), " ".join(unknown)))
    assert missing == []
    assert len(unknown) < len(ROWS) / 3


def check_example(example, ask_direct, ask_front, tag):
    for words in example.setup:
        for ask in (ask_direct, ask_front):
            ask(bound(words, tag))
    words = bound(example.words, tag)
    want, got = ask_direct(words), ask_front(words)
    same = shape(want) == shape(got) if example.by_shape else want == got
    kind = want[:1] == b"-"
    problems = []
    if kind != example.fails:
        problems.append("%r: redis itself says %r" % (example, want[:200]))
    if not same:
        problems.append("%r: redis says %r, Cashew %r" % (example, want[:300], got[:300]))
    return problems


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("pool", ["one", "three"])
def test_each_example_is_answered_as_by_one_redis(direct, fronts, pool, protocol):
    proxy, servers = fronts
    used = [direct, *(servers[:1] if pool == "one" else servers[1:])]
    problems = []
    with direct.client(protocol) as straight:
        with RespClient(proxy.address(pool), protocol=protocol) as through:
            for example in EXAMPLES:
                tags = [TAG, "x:"] if pool == "one" or example.row.split else [TAG]
                for tag in tags:
                    empty(used)
                    policy(used, "allkeys-lfu" if example.lfu else "noeviction")
                    problems += check_example(
                        example,
                        lambda words: straight.reply(*words),
                        lambda words: through.reply(*words),
                        tag,
                    )
    assert problems == []
    assert proxy.metric("cashew_server_desync_total") == 0
    assert proxy.metric("cashew_server_err_total") == 0


def test_random_pipelines_are_answered_as_by_one_redis(direct, fronts):
    """Commands in the examples' shapes on three keys, whatever these hold by then."""
    proxy, servers = fronts
    print("CASHEW_TEST_SEED=%d" % SEED)
    rng = random.Random(SEED)
    # Their replies depend on more than what the keys hold: on order in hash tables, on
    # chance, on how memory was given, on time.
    loose = (
        "spop srandmember hrandfield zrandmember sscan hscan zscan memory object dump lolwut sort "
        "sort_ro smembers sunion sdiff sinter hgetall hkeys hvals xinfo xautoclaim xclaim xpending "
        "xreadgroup getex expire pexpire ttl pttl expiretime pexpiretime restore sunionstore "
        "sdiffstore sinterstore"
    ).split()
    usable = [e for e in EXAMPLES if not e.by_shape and e.words[0] not in loose and not e.row.blocking]
    commands = [e.words for e in usable]
    commands += [w for e in usable for w in e.setup if w[0] not in loose and w[0] in ROWS]
    for pool in ("one", "three"):
        empty([direct, *servers])
        with direct.client() as straight, RespClient(proxy.address(pool)) as through:
            for _ in range(int(600 * SCALE)):
                batch = []
                for _ in range(rng.randrange(1, 40)):
                    words = rng.choice(commands)
                    if rng.random() < 0.05:  # one word too few, one too many, or a strange one
                        strange = TAG if pool == "three" else "-1"  # it may stand for a key
                        words = rng.choice(
                            [words[:-1] or words, words + [TAG + "x"], words[:-1] + [strange]]
                        )
                    if "BLOCK" in words:
                        continue
                    keys = rng.sample(KEYS, 3)
                    words = [keys[KEYS.index(w)] if w in KEYS else w for w in words]
                    batch.append(bound(words, TAG))
                data = b"".join(encode(*words) for words in batch)
                straight.raw.send(data)
                through.raw.send(data)
                for words in batch:
                    want, got = straight.read_raw(), through.read_raw()
                    assert want == got or both_refuse(want, got), (SEED, pool, words, want, got)


def both_refuse(want, got):
    """The proxy words errors about numkeys and arity itself; that both refuse is what counts."""
    return want[:4] == b"-ERR" and got[:4] == b"-ERR"


def test_every_command_of_the_server_has_a_row(direct):
    containers = {name.split("|")[0] for name in ROWS if "|" in name}
    missing = [n for n in known_commands(direct) if n not in ROWS and n not in containers]
    assert missing == []


def test_arities_and_flags_agree_with_the_server(direct):
    problems = []
    for name, command in known_commands(direct).items():
        row = ROWS.get(name)
        if row is None or not row.forwarded:
            continue
        arity, flags = command[1], {f for f in command[2]}
        if arity != row.arity and name not in NEWER_ARITY:
            problems.append("%s: arity %d, the server says %d" % (name, row.arity, arity))
        bad = flags & {"blocking", "pubsub", "admin"}
        if bad and not row.blocking and name not in FORWARDED_ALL_THE_SAME:
            problems.append("%s is forwarded, and the server calls it %s" % (name, bad))
        reads = "readonly" in flags
        said = re.search(r"\bk(Read|Write|Value)\b", row.arguments)
        if said and (said.group(1) == "Read") != reads and name != "lolwut":
            problems.append("%s: %s, readonly %s" % (name, said.group(), reads))
    assert problems == []


def test_getkeys_agrees_with_the_server(direct, fronts):
    proxy, _ = fronts
    problems = []
    with direct.client() as straight, RespClient(proxy.address("one")) as through:
        for example in EXAMPLES:
            if example.fails:
                continue
            words = bound(example.words, TAG)
            want = straight.reply("COMMAND", "GETKEYS", *words)
            got = through.reply("COMMAND", "GETKEYS", *words)
            if want != got:
                problems.append((words, want, got))
    assert problems == []
