"""The binary is replaced and the proxy ends, and clients do not notice."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from concurrent import futures

import grpc
import pytest

import grpc_client
from support import HOST, Memcached, Proxy, Redis, VerifyingClient, wait_until
from support.processes import default_binary
from support.redis import RespClient

pytestmark = pytest.mark.improved

POOL = {"hash": "fnv1a_64", "distribution": "ketama", "timeout": 400, "server_connections": 2}
GRPC = {**POOL, "membership": "grpc"}
SETTINGS = {"workers": 2, "grpc": "unix:{dir}/grpc.sock", "state_dir": "{dir}/state",
            "drain_timeout": "10s"}


@pytest.fixture(scope="module")
def caches():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Memcached()) for _ in range(3)]


@contextlib.contextmanager
def upgradable(pools, binary=None, **settings):
    """A proxy whose successors the test may follow by its pid file; the last is ended."""
    proxy = Proxy(pools, binary=binary, settings={**SETTINGS, **settings})
    proxy.pids = [proxy.popen.pid]
    proxy.grpc = "unix:%s/grpc.sock" % proxy.dir
    try:
        yield proxy
        os.kill(proxy.pids[-1], signal.SIGTERM)
        wait_until(lambda: not _alive(proxy.pids[-1]), 15, "the end of the last process")
        assert not os.path.exists(proxy.pid_path)
    finally:
        for pid in proxy.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        proxy.close()


def _alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:  # it may also end between the two calls
        return False


def upgrade(proxy, how="signal"):
    if how == "signal":
        os.kill(proxy.pids[-1], signal.SIGUSR2)
    else:
        with grpc_client.Client(proxy.grpc) as client:
            answer = client.admin("Upgrade", timeout=60)
            assert answer.pid != proxy.pids[-1] and answer.version
    await_upgrade(proxy)


def await_upgrade(proxy):
    """Until the successor serves and the process before it has ended."""
    old = proxy.pids[-1]

    def successor():
        with contextlib.suppress(OSError, ValueError):
            with open(proxy.pid_path, encoding="ascii") as f:
                return int(f.read()) not in (old, 0)

    wait_until(successor, 30, "the successor's pid")
    with open(proxy.pid_path, encoding="ascii") as f:
        proxy.pids.append(int(f.read()))
    wait_until(lambda: not _alive(old), 20, "the end of the process before")


class SlowSuccessor:
    """A program for a proxy. What an upgrade starts after hold() waits until the test lets it
    go on, or has it fail; at the end of a `with` block it fails."""

    def __init__(self, folder):
        self.program, self._gate = str(folder / "cashew"), str(folder / "gate")
        self._fd = None  # of the gate, behind which a successor waits
        os.mkfifo(self._gate)
        os.symlink(os.path.abspath(default_binary()), self.program)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self._fd is not None or self._open_gate():
            self.fail()

    def hold(self):
        real = os.readlink(self.program)
        os.unlink(self.program)
        with open(self.program, "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\necho $$ >"%s.pid"\nread word <"%s" || exit 3\nexec "%s" "$@"\n'
                    % (self._gate, self._gate, real))
        os.chmod(self.program, 0o755)

    def _open_gate(self):
        with contextlib.suppress(OSError):  # nobody waits behind it
            self._fd = os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK)
        return self._fd is not None

    def started(self):
        """Waits for the successor's start; its process id."""
        wait_until(self._open_gate, 20, "the start of the successor")
        with open(self._gate + ".pid", encoding="ascii") as f:
            return int(f.read())

    def go_on(self):
        self._answer(b"go on\n")

    def fail(self):
        self._answer(b"")

    def _answer(self, word):
        with contextlib.suppress(BrokenPipeError):  # it has ended
            os.write(self._fd, word)
        os.close(self._fd)
        self._fd = None


@pytest.mark.parametrize("rate, connections", [(2000, 20), (500, 200)])
def test_twenty_upgrades_under_load_lose_nothing(caches, rate, connections):
    """Clients that never reconnect, and others that keep connecting."""
    for cache in caches:
        with cache.client() as c:
            assert c.command("flush_all") == b"OK"
    with upgradable({"alpha": {**POOL, "servers": caches}}) as proxy:
        stop, refused, connected = threading.Event(), [], [0]

        def keep_connecting():
            while not stop.is_set():
                try:
                    with socket.create_connection((HOST, proxy.address()), 5) as s:
                        s.settimeout(5)
                        s.sendall(b"get nothing\r\n")
                        answer = s.recv(100)
                        if answer != b"END\r\n":
                            refused.append(answer)
                except OSError as error:
                    refused.append(error)
                connected[0] += 1
                time.sleep(0.005)

        visitor = threading.Thread(target=keep_connecting, daemon=True)
        visitor.start()
        with VerifyingClient(proxy.address(), rate=rate, connections=connections) as load:
            wait_until(lambda: load.answered > 300, 10, "traffic")
            for i in range(20):
                upgrade(proxy, "signal" if i % 2 else "rpc")
                time.sleep(0.1)
        stop.set()
        visitor.join()
        print("answered %d over 20 upgrades, %d visits" % (load.answered, connected[0]))
        assert not load.errors and not load.mismatches, (load.errors[:3], load.mismatches[:3])
        assert load.closed == 0 and not load.lost and not load.stale
        assert not refused and connected[0] > 100, refused[:3]
        assert len(set(proxy.pids)) == 21


def test_a_half_sent_request_a_slow_reply_and_a_pipeline_go_along(caches):
    with upgradable({"alpha": {**POOL, "servers": caches}}) as proxy:
        with proxy.client() as half, proxy.client() as quiet, proxy.client() as piped:
            assert quiet.set("k", "v") == b"STORED"
            half.send("set h 0 0 10\r\nhello")
            piped.send("get k\r\n" * 50 + "get ")
            upgrade(proxy)
            half.send("world\r\n")
            half.expect("STORED\r\n")
            assert quiet.get("k") == b"v" and quiet.get("h") == b"helloworld"
            piped.send("h\r\n")
            piped.expect("VALUE k 0 1\r\nv\r\nEND\r\n" * 50 + "VALUE h 0 10\r\nhelloworld\r\nEND\r\n")


def test_a_redis_client_keeps_its_login_and_protocol_and_watchers_stay_until_they_are_done():
    with Redis() as server:
        pool = {**POOL, "redis": True, "servers": [server]}
        with upgradable({"alpha": pool}) as proxy:
            with RespClient(proxy.address()) as three, RespClient(proxy.address()) as watcher:
                three("HELLO", "3", "SETNAME", "me")
                assert three.reply("SET", "a", "1") == b"+OK\r\n"
                watcher("WATCH", "w")
                watcher("MULTI")
                watcher("SET", "w", "1")
                os.kill(proxy.pids[-1], signal.SIGUSR2)
                old = proxy.pids[-1]
                wait_until(lambda: "handing clients over" in proxy.log(), 20, "the hand-over")
                # A RESP3 answer, from the new process: a map, not a flat list.
                assert three.reply("HGETALL", "nothing") == b"%0\r\n"
                assert three.reply("CLIENT", "GETNAME") == b"$2\r\nme\r\n"
                assert _alive(old), "the watcher is still there"
                assert watcher.reply("EXEC") == b"*1\r\n+OK\r\n"
                assert watcher.reply("GET", "w") == b"$1\r\n1\r\n"
                wait_until(lambda: not _alive(old), 20, "the end of the process before")
                with open(proxy.pid_path, encoding="ascii") as f:
                    proxy.pids.append(int(f.read()))
                assert watcher.reply("GET", "w") == b"$1\r\n1\r\n"


def test_a_new_binary_that_does_not_come_up_leaves_the_old_one_serving(caches):
    with upgradable({"alpha": {**POOL, "servers": caches}}) as proxy:
        with proxy.client() as c, grpc_client.Client(proxy.grpc) as client:
            assert c.set("k", "v") == b"STORED"
            with open(proxy.conf_path, encoding="utf-8") as f:
                good = f.read()
            with open(proxy.conf_path, "w", encoding="utf-8") as f:
                f.write(good.replace("ketama", "nonsense"))
            with pytest.raises(grpc.RpcError) as error:
                client.admin("Upgrade", timeout=60)
            assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert "exited with 1" in error.value.details()
            assert c.get("k") == b"v" and _alive(proxy.pids[0])
            with open(proxy.pid_path, encoding="ascii") as f:
                assert int(f.read()) == proxy.pids[0]
            with open(proxy.conf_path, "w", encoding="utf-8") as f:
                f.write(good)
            upgrade(proxy)
            assert c.get("k") == b"v"


def test_lists_owners_and_verdicts_go_along(caches):
    pool = {**POOL, "auto_eject_hosts": True, "server_failure_limit": 1,
            "server_retry_timeout": 60000}
    with Memcached() as dead:
        with upgradable({"alpha": {**pool, "membership": "grpc"}}) as proxy:
            specs = [{"name": "n%d" % i, "address": "%s:%d" % (HOST, c.port)}
                     for i, c in enumerate([*caches, dead])]
            with grpc_client.Client(proxy.grpc) as client:
                client.set_servers("alpha", specs)
                client.admin("SetOverride", pool="alpha", server="n0", weight=3)
                dead.kill9()
                with proxy.client() as c:
                    for i in range(40):
                        c.send("get key%x\r\n" % (i * 7919))
                        c.recv_line()
                wait_until(lambda: not client.get_pool("alpha").servers[3].healthy, 5, "ejection")
                before = client.get_pool("alpha")
            upgrade(proxy, "rpc")
            with grpc_client.Client(proxy.grpc) as client:
                after = client.get_pool("alpha")
                assert after.ring_checksum == before.ring_checksum
                assert not after.servers[3].healthy and after.servers[0].override.weight == 3
                with proxy.client() as c:
                    for i in range(40):
                        c.send("get key%x\r\n" % (i * 7919))
                        assert c.recv_line() == b"END"


def listed(**servers):
    return [{"name": name, "address": "%s:%d" % (HOST, server.port)}
            for name, server in servers.items()]


def names_in_state_file(proxy, pool):
    with open("%s/state/%s.state" % (proxy.dir, pool), encoding="ascii") as f:
        return [server["name"] for server in json.loads(f.read().split("\n", 1)[1])["servers"]]


@contextlib.contextmanager
def changes_during_an_upgrade(caches, tmp_path):
    """A list, an override and a stream's list that arrive while the successor starts."""
    one, two, _ = caches
    with SlowSuccessor(tmp_path) as successor, futures.ThreadPoolExecutor(3) as threads:
        with upgradable({"alpha": GRPC, "beta": GRPC, "gamma": GRPC},
                        binary=successor.program) as proxy:
            with grpc_client.Client(proxy.grpc) as client, client.stream("sidecar", 60) as stream:
                for pool in ("alpha", "beta"):
                    client.set_servers(pool, listed(a=one))
                stream.update("gamma", listed(a=one))
                successor.hold()
                os.kill(proxy.pids[0], signal.SIGUSR2)
                successor.started()
                both = listed(a=one, b=two)
                changes = [
                    threads.submit(client.set_servers, "alpha", both),
                    threads.submit(client.admin, "SetOverride", pool="beta", server="a", weight=3),
                    threads.submit(stream.update, "gamma", both),
                ]
                answered = futures.wait(changes, 0.5, futures.FIRST_COMPLETED).done
                assert not answered, [change.result() for change in answered]
                yield proxy, successor, changes


def test_changes_that_arrive_while_a_successor_starts_are_refused_when_it_serves(caches, tmp_path):
    """Neither taken by a process that passes on what it had before, nor lost."""
    with changes_during_an_upgrade(caches, tmp_path) as (proxy, successor, changes):
        successor.go_on()
        for change in changes[:2]:
            error = change.exception(30)
            assert error.code() == grpc.StatusCode.UNAVAILABLE, change.result()
            assert "ask again" in error.details()
        assert changes[2].result(30).error.code == grpc.StatusCode.UNAVAILABLE.value[0]
        await_upgrade(proxy)
        with grpc_client.Client(proxy.grpc) as client:
            for pool in ("alpha", "beta", "gamma"):
                assert [s.server.name for s in client.get_pool(pool).servers] == ["a"], pool
            both = listed(a=caches[0], b=caches[1])
            assert list(client.set_servers("alpha", both).added) == ["b"]
            client.admin("SetOverride", pool="beta", server="a", weight=3)
            assert client.get_pool("beta").servers[0].override.weight == 3
            with client.stream("sidecar", 60) as stream:
                assert not stream.update("gamma", both).HasField("error")


def test_changes_that_arrive_while_a_successor_starts_are_made_when_it_fails(caches, tmp_path):
    with changes_during_an_upgrade(caches, tmp_path) as (proxy, successor, changes):
        successor.fail()
        assert list(changes[0].result(30).added) == ["b"]
        assert changes[1].result(30).version > 0
        assert not changes[2].result(30).HasField("error")
        assert "it exited with 3" in proxy.log() and _alive(proxy.pids[0])
        with grpc_client.Client(proxy.grpc) as client:
            assert client.get_pool("beta").servers[0].override.weight == 3
            for pool in ("alpha", "gamma"):
                assert [s.server.name for s in client.get_pool(pool).servers] == ["a", "b"], pool
                wait_until(lambda p=pool: names_in_state_file(proxy, p) == ["a", "b"], 5,
                           "the state file of " + pool)


def test_a_held_server_is_still_held_after_an_upgrade(caches):
    pool = {**GRPC, "eject_mode": "keep_ring", "hold_down": "60s"}
    with upgradable({"alpha": pool}) as proxy:
        with grpc_client.Client(proxy.grpc) as client, client.stream("sidecar") as stream:
            stream.update("alpha", listed(a=caches[0], b=caches[1]))
            stream.update("alpha", listed(a=caches[0]))
            before = client.get_pool("alpha")
            assert [s.held for s in before.servers] == [False, True]
        upgrade(proxy, "rpc")
        with grpc_client.Client(proxy.grpc) as client:
            after = client.get_pool("alpha")
            assert [(s.server.name, s.held) for s in after.servers] == [("a", False), ("b", True)]
            assert after.ring_checksum == before.ring_checksum
            with client.stream("sidecar") as stream:  # it comes back
                stream.update("alpha", listed(a=caches[0], b=caches[2]))
            assert [s.held for s in client.get_pool("alpha").servers] == [False, False]


def test_a_process_that_lingers_leaves_the_state_file_to_its_successor():
    """A hold that ends in it changes its list, and that list is nobody's any more."""
    pool = {**GRPC, "redis": True, "eject_mode": "keep_ring", "hold_down": "2s"}
    with Redis() as one, Redis() as two, upgradable({"alpha": pool}) as proxy:
        with RespClient(proxy.address()) as watcher:
            with grpc_client.Client(proxy.grpc) as client, client.stream("sidecar") as stream:
                stream.update("alpha", listed(a=one, b=two))
                assert watcher.reply("WATCH", "w") == b"+OK\r\n"
                stream.update("alpha", listed(a=one))
                client.admin("Upgrade", timeout=60)

            def new_list():
                with grpc_client.Client(proxy.grpc) as client:
                    try:
                        return client.set_servers("alpha", listed(c=one, d=two), take_over=True)
                    except grpc.RpcError as error:  # the old process is about to leave the socket
                        assert error.code() == grpc.StatusCode.UNAVAILABLE
                        return None

            wait_until(new_list, 10, "the new process to take a list")
            wait_until(lambda: names_in_state_file(proxy, "alpha") == ["c", "d"], 5, "the file")
            wait_until(lambda: "hold or override expired" in proxy.log(), 10, "the hold's end")
            assert _alive(proxy.pids[0]), "the watcher is still there"
            assert watcher.reply("UNWATCH") == b"+OK\r\n"
            await_upgrade(proxy)  # its end writes what is left to be written
            assert names_in_state_file(proxy, "alpha") == ["c", "d"]


def test_sigterm_during_an_upgrade_ends_both_processes_and_leaves_nothing(caches, tmp_path):
    with SlowSuccessor(tmp_path) as successor:
        with upgradable({"alpha": {**POOL, "servers": caches}},
                        binary=successor.program) as proxy:
            successor.hold()
            os.kill(proxy.pids[0], signal.SIGUSR2)
            pid = successor.started()
            os.kill(proxy.pids[0], signal.SIGTERM)
            wait_until(lambda: not _alive(proxy.pids[0]), 10, "the end of the process")
            wait_until(lambda: not _alive(pid), 5, "the end of its successor")
            for left in (proxy.pid_path, proxy.dir + "/grpc.sock"):
                assert not os.path.exists(left), left


def test_every_request_that_was_read_is_answered_before_the_end(caches):
    """SIGTERM under load, many times: what is lost crossed our FIN on the wire. Counted and
    printed; a client that is told goodbye has its replies first."""
    crossed = asked = 0
    for _ in range(10):
        with Proxy({"alpha": {**POOL, "servers": caches}}, settings={"workers": 2}) as proxy:
            clients = [socket.create_connection((HOST, proxy.address())) for _ in range(20)]
            for s in clients:
                s.settimeout(10)
            stop = threading.Event()
            results = []

            def talk(s):
                sent = answered = 0
                with contextlib.suppress(OSError):
                    while not stop.is_set():
                        s.sendall(b"get a\r\n")
                        sent += 1
                        reply = s.recv(100)
                        if not reply:
                            break
                        assert reply == b"END\r\n", reply
                        answered += 1
                results.append((sent, answered))

            threads = [threading.Thread(target=talk, args=(s,), daemon=True) for s in clients]
            for t in threads:
                t.start()
            time.sleep(0.2)
            proxy.stop()
            stop.set()
            for t in threads:
                t.join(10)
            asked += sum(sent for sent, _ in results)
            crossed += sum(sent - answered for sent, answered in results)
            assert len(results) == 20
            # At most the one request of each client that crossed the FIN.
            assert all(sent - answered <= 1 for sent, answered in results)
            for s in clients:
                s.close()
    print("%d of %d requests crossed the FIN" % (crossed, asked))
    assert asked > 2000


def test_a_service_manager_is_told_and_its_sockets_are_taken(caches, tmp_path):
    """READY=1, RELOADING=1 and MAINPID over NOTIFY_SOCKET; a port that was opened for us."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(10)
    with upgradable({"alpha": {**POOL, "servers": caches}}) as proxy:
        os.kill(proxy.pids[-1], signal.SIGTERM)
        proxy.popen.wait(10)
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind((HOST, proxy.address()))
        ours.listen(64)
        early = socket.create_connection((HOST, proxy.address()))
        early.sendall(b"get a\r\n")
        pid = os.fork()
        if pid == 0:
            os.dup2(ours.fileno(), 3, inheritable=True)
            environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()),
                           "NOTIFY_SOCKET": str(tmp_path / "notify")}
            os.execve(proxy.command()[0], proxy.command(), environment)
        proxy.pids.append(pid)
        ours.close()
        assert notify.recv(1000) == b"READY=1\nMAINPID=%d" % pid
        early.settimeout(10)
        assert early.recv(100) == b"END\r\n"
        os.kill(pid, signal.SIGHUP)
        assert notify.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notify.recv(1000) == b"READY=1"
        threading.Thread(target=os.waitpid, args=(pid, 0), daemon=True).start()
        upgrade(proxy)
        assert notify.recv(1000) == b"READY=1\nMAINPID=%d" % proxy.pids[-1]
        early.sendall(b"get a\r\n")
        assert early.recv(100) == b"END\r\n"
        early.close()
    notify.close()
