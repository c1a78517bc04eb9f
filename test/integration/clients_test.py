"""Stock client libraries with their default settings, as applications use them."""

import time

import pytest

from support import Proxy, wait_until

pymemcache = pytest.importorskip("pymemcache")
memcache = pytest.importorskip("memcache")
pylibmc = pytest.importorskip("pylibmc")


@pytest.fixture(scope="module")
def proxy(servers):
    with Proxy({"alpha": {"hash": "md5", "timeout": 5000, "servers": servers}}) as running:
        yield running


@pytest.fixture
def restartable(servers):
    with Proxy({"alpha": {"hash": "md5", "timeout": 5000, "servers": servers}}) as running:
        yield running


def _where(proxy):
    return "127.0.0.1:%d" % proxy.address()


class TestPymemcache:
    @pytest.fixture
    def client(self, proxy):
        client = pymemcache.Client(("127.0.0.1", proxy.address()))
        yield client
        client.close()

    def test_sets_without_waiting_for_a_reply_and_gets(self, client):
        client.set("py", "value")  # noreply by default
        assert client.get("py") == b"value"
        client.set("py", "waited for", noreply=False)
        assert client.get("py") == b"waited for"
        assert client.get("py-none", default=b"d") == b"d"

    def test_every_operation(self, client):
        assert client.add("py-add", "1", noreply=False)
        assert not client.add("py-add", "2", noreply=False)
        assert client.replace("py-add", "10", noreply=False)
        assert client.incr("py-add", 5) == 15
        assert client.decr("py-add", 20) == 0
        assert client.set("py-add", "b", noreply=False)
        assert client.append("py-add", "c", noreply=False)
        assert client.prepend("py-add", "a", noreply=False)
        assert client.get("py-add") == b"abc"
        assert client.touch("py-add", 60, noreply=False)
        assert client.delete("py-add", noreply=False)
        assert client.incr("py-add", 1) is None

    def test_gets_and_cas(self, client):
        client.set("py-cas", "1")
        value, unique = client.gets("py-cas")
        assert value == b"1"
        assert client.cas("py-cas", "2", unique, noreply=False) is True
        assert client.cas("py-cas", "3", unique, noreply=False) is False
        assert client.cas("py-cas-none", "3", unique, noreply=False) is None

    def test_many(self, client):
        values = {"py-many-%d" % i: b"%d" % i for i in range(200)}
        assert client.set_many(values) == []
        assert client.get_many([*values, "py-many-none"]) == values
        assert len(client.gets_many(list(values))) == 200
        assert client.delete_many(list(values))
        assert client.get_many(list(values)) == {}

    def test_large_values(self, client):
        value = bytes(range(256)) * 3000
        client.set("py-large", value)
        assert client.get("py-large") == value

    def test_version(self, client):
        assert client.version()[:1].isdigit()

    @pytest.mark.improved
    def test_stats(self, client):
        assert client.stats()

    def test_touch_changes_how_long_a_value_lives(self, client, servers):
        # No stock client here speaks gat; basic_test asks for it byte by byte.
        client.set("py-touch", "1", expire=1000, noreply=False)
        assert client.touch("py-touch", 60, noreply=False)
        answers = []
        for server in servers:
            with server.client() as direct:
                answers.append(direct.command("mg py-touch t"))
        (ttl,) = [int(answer[4:]) for answer in answers if answer != b"EN"]
        assert 0 < ttl <= 60
        assert client.touch("py-touch", -1, noreply=False)
        assert client.get("py-touch") is None
        assert not client.touch("py-touch", 60, noreply=False)

    @pytest.mark.improved
    def test_a_refused_command_is_an_exception_and_the_client_goes_on(self, client):
        with pytest.raises(pymemcache.exceptions.MemcacheError):
            client.flush_all(noreply=False)
        client.set("py-after", "1")
        assert client.get("py-after") == b"1"

    def test_reconnects_after_a_restart_of_the_proxy(self, restartable):
        client = pymemcache.Client(("127.0.0.1", restartable.address()))
        client.set("py-restart", "1")
        assert client.get("py-restart") == b"1"
        restartable.restart()
        _eventually(lambda: client.get("py-restart") == b"1")
        client.close()


class TestPythonMemcached:
    @pytest.fixture
    def client(self, proxy):
        client = memcache.Client([_where(proxy)])
        yield client
        client.disconnect_all()

    def test_every_operation(self, client):
        assert client.set("pm", {"a": [1, 2]})
        assert client.get("pm") == {"a": [1, 2]}
        assert client.get("pm-none") is None
        assert client.add("pm-add", "1")
        assert not client.add("pm-add", "2")
        assert client.replace("pm-add", "10")
        assert client.incr("pm-add", 5) == 15
        assert client.decr("pm-add", 20) == 0
        assert client.set("pm-add", "b")
        assert client.append("pm-add", "c")
        assert client.prepend("pm-add", "a")
        assert client.get("pm-add") == "abc"
        assert client.touch("pm-add", 60)
        assert client.delete("pm-add")

    def test_cas(self, proxy):
        client = memcache.Client([_where(proxy)], cache_cas=True)
        assert client.set("pm-cas", "1")
        assert client.gets("pm-cas") == "1"
        assert client.cas("pm-cas", "2")
        assert client.get("pm-cas") == "2"
        client.disconnect_all()

    def test_many(self, client):
        values = {"pm-many-%d" % i: i for i in range(200)}
        assert client.set_multi(values) == []
        assert client.get_multi([*values, "pm-many-none"]) == values
        assert client.delete_multi(list(values)) == 1
        assert client.get_multi(list(values)) == {}

    @pytest.mark.improved
    def test_stats(self, client):
        ((server, stats),) = client.get_stats()
        assert _where_matches(server) and stats

    def test_reconnects_after_a_restart_of_the_proxy(self, restartable):
        # By default the library leaves a server alone for 30 s after a lost connection.
        client = memcache.Client([_where(restartable)], dead_retry=0.5)
        assert client.set("pm-restart", "1")
        restartable.restart()
        _eventually(lambda: client.get("pm-restart") == "1")
        client.disconnect_all()


class TestPylibmc:
    @pytest.fixture
    def client(self, proxy):
        client = pylibmc.Client([_where(proxy)])
        yield client
        client.disconnect_all()

    def test_every_operation(self, client):
        assert client.set("pl", {"a": [1, 2]})
        assert client.get("pl") == {"a": [1, 2]}
        assert client.get("pl-none") is None
        assert client.add("pl-add", 1)
        assert not client.add("pl-add", 2)
        assert client.replace("pl-add", 10)
        assert client.incr("pl-add", 5) == 15
        assert client.decr("pl-add", 20) == 0
        assert client.set("pl-add", "b")
        assert client.append("pl-add", "c")
        assert client.prepend("pl-add", "a")
        assert client.get("pl-add") == "abc"
        assert client.touch("pl-add", 60)
        assert client.delete("pl-add")
        assert not client.delete("pl-add")

    def test_gets_and_cas(self, proxy):
        client = pylibmc.Client([_where(proxy)], behaviors={"cas": True})
        assert client.set("pl-cas", "1")
        value, unique = client.gets("pl-cas")
        assert value == "1"
        assert client.cas("pl-cas", "2", unique)
        assert not client.cas("pl-cas", "3", unique)
        client.disconnect_all()

    def test_many(self, client):
        values = {"pl-many-%d" % i: i for i in range(200)}
        assert client.set_multi(values) == []
        assert client.get_multi([*values, "pl-many-none"]) == values
        assert client.delete_multi(list(values))
        assert client.get_multi(list(values)) == {}

    def test_large_values(self, client):
        value = bytes(range(256)) * 3000
        assert client.set("pl-large", value)
        assert client.get("pl-large") == value

    def test_reconnects_after_a_restart_of_the_proxy(self, restartable):
        client = pylibmc.Client([_where(restartable)])
        assert client.set("pl-restart", "1")
        restartable.restart()
        _eventually(lambda: client.get("pl-restart") == "1")
        client.disconnect_all()


def test_the_three_libraries_read_each_others_values(proxy):
    one = pymemcache.Client(("127.0.0.1", proxy.address()))
    two = memcache.Client([_where(proxy)])
    three = pylibmc.Client([_where(proxy)])
    one.set("shared", "text")
    assert two.get("shared") == b"text"
    assert three.set("shared", b"bytes")
    assert one.get("shared") == b"bytes"


def _where_matches(text):
    return text.startswith("127.0.0.1:")


def _eventually(done):
    """A client may fail while it notices that its connection is gone, not for long."""

    def attempt():
        try:
            return done()
        except Exception:  # pylint: disable=broad-except  # each library has its own kind
            time.sleep(0.05)
            return False

    wait_until(attempt, 5, "the client to work again")
