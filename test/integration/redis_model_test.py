"""The redis command table against a redis that holds all keys.

Every forwarded row of the table has examples in redis_examples.txt. Each is run straight at one
redis-server and through Cashew, in front of one and of three, in RESP2 and RESP3, and the replies
must be the same bytes. Then random pipelines in the examples' shapes: CASHEW_TEST_SCALE
multiplies them, CASHEW_TEST_SEED repeats a run.
"""

import collections
import os
import random
import re

import pytest

from support import Proxy, Redis, RespClient, encode
from support.processes import REPOSITORY

pytestmark = pytest.mark.improved

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = ("k", "l", "d")
TAG = "{t}"  # before a key: all on one server
SPREAD = "1:"  # behind it, by the pools' hash, each key is on another of three
POOLS = ("one", "three")
SCALE = float(os.environ.get("CASHEW_TEST_SCALE", "1"))
SEED = int(os.environ.get("CASHEW_TEST_SEED", random.randrange(1 << 32)))

# At every server, for the examples of FCALL and EVALSHA.
FUNCTIONS = """#!lua name=model
redis.register_function('put', function(keys, args)
  if redis.call('type', keys[1]).ok == 'list' then return redis.error_reply('WRONGTYPE no') end
  return redis.call('set', keys[1], args[1]) end)
redis.register_function{function_name='take', flags={'no-writes'}, callback=function(keys, args)
  return redis.call('get', keys[1]) end}
"""
SCRIPT = "return 1"
SCRIPT_SHA = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"

# Exceptions, each with its reason.
NEWER_ARITY = {"zrank", "zrevrank"}  # WITHSCORE came with 7.2
FORWARDED_THOUGH_BLOCKING = {"xread", "xreadgroup"}  # they block with BLOCK alone
# A script may not run a script: that is why, and not that one would touch the connection.
FORWARDED_THOUGH_NOSCRIPT = {"eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"}
READ_ALL_THE_SAME = {"lolwut"}  # the server has no flag for what has no keys
# Two servers with the same data answer these differently: by chance, in the order of a hash table
# with a seed of its own, or by what they keep of time and memory.
BY_CHANCE = {"spop"}  # and this one then holds other data
BY_SHAPE = set(
    "srandmember hrandfield zrandmember dump ttl pttl expiretime pexpiretime xinfo xpending memory "
    "object lolwut".split()
)
ANY_ORDER = set("smembers sunion sdiff sinter sscan hscan zscan hgetall hkeys hvals".split())
# When the proxy cannot find a command or its keys it says so in its own words, and the server,
# which looks for other faults first, in others.
FAULTS_OF_THE_PROXY = re.compile(
    rb"-(ERR (numkeys|Number of keys|syntax error|value is not an integer|wrong number of|"
    rb"at least 1 input key|Unbalanced|unknown (sub)?command)|CROSSSLOT )"
)


class Row:
    def __init__(self, maker, name, arity, arguments):
        self.maker, self.name, self.arity, self.arguments = maker, name, arity, arguments
        self.split = maker.startswith("Split")
        self.blocking = maker.startswith("Blocking")
        self.forwarded = (
            self.split
            or self.blocking
            or maker in ("OneKey", "KeysAt", "Keyed")
            or "H::kForward" in arguments
        )


def read_table():
    path = os.path.join(REPOSITORY, "pkg/protocol/redis/command_table.cc")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    start = text.index("kCommands[] = {")
    body = text[start : text.index("\n};", start)]
    found = re.findall(r'(\w+)\(\s*"([^"]+)",\s*((?:[^()]|\([^()]*\))*)\)', body)
    assert len(found) > 400, "the table is not where or what it was"
    assert len(found) == len(re.findall(r"^    \w+\(", body, re.M)), "a row is written otherwise"
    rows = {}
    for maker, name, rest in found:
        rows[name] = Row(maker, name, -1 if maker == "Refused" else int(rest.split(",")[0]), rest)
    assert len(rows) == len(found), "a name has two rows"
    return rows


ROWS = read_table()


class Example:
    """A command with what makes its keys; see the head of redis_examples.txt."""

    def __init__(self, words, setup, *, error=None, by_shape=False, lfu=False):
        self.words, self.setup = words, setup
        self.error = error  # what its reply begins with; None: it succeeds
        self.by_shape, self.lfu = by_shape, lfu
        self.row = row_of(words)

    def __repr__(self):
        return " ".join(word if isinstance(word, str) else repr(word) for word in self.words)


def row_of(words):
    two = "|".join(str(word) for word in words[:2]).lower()
    return ROWS[two] if two in ROWS else ROWS[words[0]]


def parse_words(text):
    """Words at spaces; one with a backslash is bytes."""
    return [
        w.encode().decode("unicode_escape").encode("latin-1") if "\\" in w else w
        for w in ("" if w == "''" else w for w in text.split())
    ]


def parse_command(text):
    command, _, setup = text.partition("|")
    return parse_words(command), [parse_words(s) for s in setup.split(";") if s.strip()]


def parse_line(line):
    lfu, by_shape = line[0] == "%", line[0] in "~%"
    good, with_error, bad = line.lstrip("~%").partition("| error:")
    words, setup = parse_command(good)
    yield Example(words, setup, by_shape=by_shape, lfu=lfu)
    if with_error:
        yield Example(*parse_command(bad), error=b"-")
    elif not line.startswith("="):
        of_strings = (setup[0] if setup else words)[0] in ("set", "pfadd")
        wrong = ["rpush", "k", "x"] if of_strings else ["set", "k", "v"]
        yield Example(words, [wrong], error=b"-WRONGTYPE ")


def read_examples():
    with open(os.path.join(HERE, "redis_examples.txt"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    found = []
    for line in lines:
        if line.startswith("="):  # one more success
            found.append(Example(*parse_command(line[1:])))
        elif line and not line.startswith("#"):
            found += parse_line(line)
    return found


EXAMPLES = read_examples()


def bound(words, prefix):
    """The command with its keys named for the test."""
    return [words[0], *(prefix + word if word in KEYS else word for word in words[1:])]


class Server(Redis):
    """A Redis with what the examples need, and a connection of the test's own to it."""

    def __init__(self):
        super().__init__()
        self.control = self.client()
        self.control("FUNCTION", "LOAD", FUNCTIONS)
        assert self.control("SCRIPT", "LOAD", SCRIPT).decode() == SCRIPT_SHA

    def close(self):
        self.control.close()
        super().close()


def ask_all(servers, *words):
    return [server.control(*words) for server in servers]


def empty(servers):
    ask_all(servers, "FLUSHALL")


@pytest.fixture(scope="module")
def direct():
    with Server() as server:
        yield server


class Fronts:
    """Cashew before one server, and before three."""

    def __init__(self):
        servers = [Server() for _ in range(4)]
        self.servers = {"one": servers[:1], "three": servers[1:]}
        pool = {"redis": True, "hash": "md5", "hash_tag": "{}", "timeout": 3000}
        pools = {name: {**pool, "servers": self.servers[name]} for name in POOLS}
        self.proxy = Proxy(pools, settings={"workers": 1})

    def client(self, pool, protocol=2):
        return RespClient(self.proxy.address(pool), protocol=protocol)

    def all_servers(self):
        return self.servers["one"] + self.servers["three"]

    def close(self):
        self.proxy.close()
        for server in self.all_servers():
            server.close()

    def assert_in_step(self):
        assert self.proxy.metric("cashew_server_desync_total") == 0
        assert self.proxy.metric("cashew_server_err_total") == 0


@pytest.fixture(scope="module")
def fronts():
    them = Fronts()
    yield them
    them.close()


def set_policy(servers, policy):
    ask_all(servers, "CONFIG", "SET", "maxmemory-policy", policy)


def shape(raw):
    """A reply without what its numbers and strings say."""
    raw = re.sub(rb"(?m)^,[^\r]*", b",", raw)
    raw = re.sub(rb"(?s)[$=]\d+\r\n.*?\r\n", b"$", raw)
    return re.sub(rb"\d+", b"0", raw)


def commands_of(server):
    """What COMMAND says of each command and subcommand, by name."""

    def walk(commands):
        for command in commands:
            yield command
            yield from walk(command[9])

    return {command[0].decode(): command for command in walk(server.control("COMMAND"))}


def assert_none(problems):
    problems = list(filter(None, problems))
    assert not problems, "%d differences:\n%s" % (len(problems), "\n".join(problems))


# The table.


def test_every_forwarded_row_has_a_success_and_an_error(direct):
    known = commands_of(direct)
    forwarded = [row for row in ROWS.values() if row.forwarded]
    unknown = [row.name for row in forwarded if row.name not in known]
    print("rows that this server does not know: %d: %s" % (len(unknown), " ".join(unknown)))
    kinds = collections.defaultdict(set)
    for example in EXAMPLES:
        kinds[example.row.name].add(example.error is None)
    tested = [row.name for row in forwarded if row.name in known]
    assert [name for name in tested if kinds[name] != {True, False}] == []
    assert len(tested) > 180


def test_every_command_of_the_server_has_a_row(direct):
    containers = {name.split("|")[0] for name in ROWS if "|" in name}
    assert [n for n in commands_of(direct) if n not in ROWS and n not in containers] == []


def test_arities_and_flags_agree_with_the_server(direct):
    problems = []
    for name, command in commands_of(direct).items():
        row = ROWS.get(name)
        if row is None or not row.forwarded:
            continue
        arity, flags, categories = command[1], set(command[2]), set(command[6])
        if arity != row.arity and name not in NEWER_ARITY:
            problems.append("%s: arity %d, the server says %d" % (name, row.arity, arity))
        why_not = flags & {"admin", "pubsub"}
        why_not |= categories & {"@admin", "@pubsub", "@connection", "@transaction"}
        if not row.blocking and name not in FORWARDED_THOUGH_BLOCKING:
            why_not |= flags & {"blocking"}
            why_not |= categories & {"@blocking"}
        if not row.blocking and name not in FORWARDED_THOUGH_NOSCRIPT:
            why_not |= flags & {"noscript"}
        if why_not:
            problems.append("%s is forwarded, and the server calls it %s" % (name, why_not))
        access = re.search(r"\bk(Read|Write|Value)\b", row.arguments)
        reads = "readonly" in flags or name in READ_ALL_THE_SAME
        if access and (access.group(1) == "Read") != reads:
            problems.append("%s: %s, and the server says %s" % (name, access.group(), flags))
    assert_none(problems)


def test_getkeys_agrees_with_the_server(direct, fronts):
    problems = []
    with direct.client() as straight, fronts.client("one") as through:
        for example in EXAMPLES:
            words = bound(example.words, TAG)
            if len(words) == 1:  # 7.0 alone wants a word behind the command's name
                continue
            want = straight.reply("COMMAND", "GETKEYS", *words)
            got = through.reply("COMMAND", "GETKEYS", *words)
            if want != got:
                problems.append("%r: redis says %r, Cashew %r" % (words, want, got))
    assert_none(problems)


# The examples.


def check_example(example, prefix, straight, through):
    """What is wrong with the reply; "" when nothing is."""
    for words in example.setup:
        straight.reply(*bound(words, prefix))
        through.reply(*bound(words, prefix))
    words = bound(example.words, prefix)
    want, got = straight.reply(*words), through.reply(*words)
    if not want.startswith(example.error or b"") or (want[:1] == b"-") != bool(example.error):
        return "%r: redis itself says %r" % (example, want[:200])
    same = shape(want) == shape(got) if example.by_shape else want == got
    return "" if same else "%r: redis says %r, Cashew %r" % (example, want[:300], got[:300])


def prefixes(example, pool):
    """What may stand before the example's keys in that pool."""
    return [TAG, SPREAD] if pool == "one" or example.row.split else [TAG]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("pool", POOLS)
def test_each_example_is_answered_as_by_one_redis(direct, fronts, pool, protocol):
    used = [direct, *fronts.servers[pool]]
    problems = []
    set_policy(used, "noeviction")
    with direct.client(protocol) as straight, fronts.client(pool, protocol) as through:
        for example in EXAMPLES:
            if example.lfu:
                set_policy(used, "allkeys-lfu")
            for prefix in prefixes(example, pool):
                empty(used)
                problems.append(check_example(example, prefix, straight, through))
            if example.lfu:
                set_policy(used, "noeviction")
    assert_none(problems)
    fronts.assert_in_step()


def test_split_examples_reach_every_server(fronts):
    servers = fronts.servers["three"]
    empty(servers)
    with fronts.client("three") as client:
        client("MSET", *(word for key in KEYS for word in (SPREAD + key, "v")))
    assert ask_all(servers, "DBSIZE") == [1, 1, 1]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("pool", POOLS)
def test_a_refusal_by_the_server_comes_through_for_every_row(direct, fronts, pool, protocol):
    """Some commands know no error but that the user may not run them."""
    used = [direct, *fronts.servers[pool]]
    allowed = "+hello +acl +ping +select".split()
    problems = []
    with direct.client(protocol) as straight, fronts.client(pool, protocol) as through:
        ask_all(used, "ACL", "SETUSER", "default", "-@all", *allowed)
        try:
            for example in EXAMPLES:
                if example.error is not None:
                    continue
                for prefix in prefixes(example, pool):
                    words = bound(example.words, prefix)
                    want, got = straight.reply(*words), through.reply(*words)
                    if not want.startswith(b"-NOPERM") or want != got:
                        problems.append("%r: redis says %r, Cashew %r" % (words, want, got))
        finally:
            ask_all(used, "ACL", "SETUSER", "default", "+@all")
    assert_none(problems)
    fronts.assert_in_step()


# Random pipelines.


def any_order(raw):
    """The lines of a reply without their order: a set of short words is one line each."""
    return sorted(raw.split(b"\r\n"))


def same_reply(words, want, got):
    if want == got:
        return True
    name = words[0].lower()
    if want[:1] == b"-" or got[:1] == b"-":
        return want[:1] == got[:1] and bool(FAULTS_OF_THE_PROXY.match(got))
    if name in BY_SHAPE:
        return shape(want) == shape(got)
    return name in ANY_ORDER and any_order(want) == any_order(got)


class Generator:
    """Commands in the examples' shapes, on three keys, whatever these hold by then."""

    def __init__(self, rng, pool):
        self.rng, self.pool = rng, pool
        self.examples = [e for e in EXAMPLES if e.words[0] not in BY_CHANCE]

    def batch(self):
        commands = []
        for _ in range(self.rng.randrange(1, 20)):
            example = self.rng.choice(self.examples)
            keys = dict(zip(KEYS, self.rng.sample(KEYS, 3)))
            if self.rng.random() < 0.5:  # what its keys hold is left to chance
                steps = [self.rng.choice([*example.setup, example.words])]
            else:
                steps = [["del", *KEYS], *example.setup, example.words]
            commands += [self._varied([keys.get(w, w) for w in words]) for words in steps]
        return commands

    def _varied(self, words):
        words = bound(words, TAG)
        if self.rng.random() < 0.1:
            words = self._spoilt(words)
        if self.rng.random() < 0.1:
            words = [w.swapcase() if isinstance(w, str) and TAG not in w else w for w in words]
        return words

    def _spoilt(self, words):
        """A word too few or too many, a strange one, or words in another order."""
        # In front of three servers the strange word may stand for a key. In what blocks, a
        # word in the time-out's place could mean for ever.
        strange = self.rng.choice([TAG + "k"] if self.pool == "three" else ["-1", "", TAG + "k"])
        at = self.rng.randrange(len(words))
        ways = [words[:-1] or words, words + [strange], words[:-1] + [strange]]
        if self.pool == "one" and not may_block(words):
            ways += [
                [words[0], *self.rng.sample(words[1:], len(words) - 1)],
                words[: at + 1] + words[at:],
                words[:at] + words[at + 1 :] or words,
            ]
        return self.rng.choice(ways)


def may_block(words):
    return "BLOCK" in words or row_of(words).blocking


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("pool", POOLS)
def test_random_pipelines_are_answered_as_by_one_redis(direct, fronts, pool, protocol):
    print("CASHEW_TEST_SEED=%d" % SEED)
    rng = random.Random("%d %s %d" % (SEED, pool, protocol))
    generator = Generator(rng, pool)
    used = [direct, *fronts.servers[pool]]
    replies = collections.Counter()
    with direct.client(protocol) as straight, fronts.client(pool, protocol) as through:
        for turn in range(int(150 * SCALE)):
            if turn % 5 == 0:  # else most keys soon are of a wrong type
                empty(used)
            batch = generator.batch()
            data = b"".join(encode(*words) for words in batch)
            straight.raw.send(data)
            through.raw.send(data)
            for words in batch:
                want, got = straight.read_raw(), through.read_raw()
                assert same_reply(words, want, got), (SEED, pool, protocol, turn, words, want, got)
                replies["error" if want[:1] == b"-" else "success"] += 1
                replies["the proxy's own words"] += want != got and want[:1] == b"-"
    print(dict(replies))
    assert replies["success"] > replies["error"]
    fronts.assert_in_step()
