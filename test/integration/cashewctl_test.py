"""cashewctl, by its output: what it says must be what the proxy does."""

import json
import os
import pty
import select
import shutil
import subprocess
import tempfile
import termios
import time

import grpc_client
import pytest
from support import Proxy, free_port, wait_until
from support.processes import default_binary

CTL = os.path.join(os.path.dirname(default_binary()), "cashewctl")
REFUSED, USAGE, UNREACHABLE, NOT_FOUND, CONFLICT = 1, 2, 3, 4, 5

pytestmark = pytest.mark.improved


def ctl(*args, address=None, stdin=""):
    env = {k: v for k, v in os.environ.items() if k not in ("CASHEW_GRPC", "RUNTIME_DIRECTORY")}
    env["XDG_RUNTIME_DIR"] = "/nowhere"
    if address:
        env["CASHEW_GRPC"] = address
    return subprocess.run(
        [CTL, *args], capture_output=True, text=True, timeout=60, input=stdin, env=env
    )


# Without a proxy.


@pytest.mark.parametrize("hash_name,distribution", [("md5", "ketama"), ("fnv1a_64", "modula")])
def test_locate_names_the_server_that_holds_the_key(servers, hash_name, distribution):
    pool = {"servers": servers, "hash": hash_name, "distribution": distribution,
            "hash_tag": "{}"}
    with Proxy({"alpha": pool}) as proxy, proxy.client() as client:
        for i in range(20):
            key = "%s{user%d}:%d" % (distribution, i, i)
            assert client.set(key, "here") == b"STORED"
            done = ctl("locate", "--config", proxy.conf_path, "--output", "json", "alpha", key)
            assert done.returncode == 0, done.stderr
            answer = json.loads(done.stdout)
            assert answer["hashed"] == "user%d" % i
            index = int(answer["server"][1:])
            assert servers[index].get(key) == b"here"
            assert [s.get(key) for s in servers].count(b"here") == 1
            assert answer["if_ejected"] != answer["server"]


def test_locate_says_which_pools_there_are(servers):
    with Proxy({"alpha": {"servers": servers}, "beta": {"servers": servers}}) as proxy:
        done = ctl("locate", "--config", proxy.conf_path, "gamma", "k")
        assert done.returncode == NOT_FOUND
        assert "gamma" in done.stderr and "beta, alpha" in done.stderr
        table = ctl("locate", "--config", proxy.conf_path, "alpha", "k")
        assert table.returncode == 0
        assert "ring position" in table.stdout and "if ejected" in table.stdout


def test_check_tells_every_error_with_its_line(tmp_path):
    good = tmp_path / "good.yml"
    good.write_text("a:\n  listen: 127.0.0.1:1234\n  servers:\n   - 127.0.0.1:11211:1\n")
    assert ctl("check", str(good)).stdout == "%s: ok, 1 pool, 1 server\n" % good
    bad = tmp_path / "bad.yml"
    bad.write_text("a:\n  listen: 127.0.0.1\n  timeout: x\n  servers:\n   - 127.0.0.1:11211:1\n")
    done = ctl("check", str(bad))
    assert done.returncode == REFUSED
    assert "bad.yml:2:" in done.stderr and "bad.yml:3:" in done.stderr


def test_wrong_use_is_explained():
    done = ctl("locate", "alpha")
    assert done.returncode == USAGE
    assert "KEY" in done.stderr


def test_without_a_proxy_the_error_says_where_it_was_looked_for():
    done = ctl("pools")
    assert done.returncode == UNREACHABLE
    assert "/nowhere/cashew/grpc.sock, /run/cashew/grpc.sock" in done.stderr
    done = ctl("pools", "--address", "127.0.0.1:1")
    assert done.returncode == UNREACHABLE
    assert "127.0.0.1:1" in done.stderr and "check that cashew runs" in done.stderr


def complete(shell, script, line):
    """What a shell offers at the end of `line`."""
    if shell == "bash":
        words = line.split(" ")
        code = (
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            '_cashewctl; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        argv = ["bash", "-c", code, "-", script, *words]
    else:
        argv = ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", script, line]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    return sorted(offer.split("\t")[0] for offer in done.stdout.splitlines())


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_completion_follows_the_line(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip("%s is not installed" % shell)
    script = tmp_path / ("cashewctl." + shell)
    script.write_text(ctl("completion", shell).stdout)
    assert complete(shell, str(script), "cashewctl re") == ["reload", "remove", "restart"]
    assert complete(shell, str(script), "cashewctl --address x server d") == ["down", "drain"]
    assert complete(shell, str(script), "cashewctl pools --output j") == ["json"]
    assert "--take-over" in complete(shell, str(script), "cashewctl set cache --")
    assert "--take-over" not in complete(shell, str(script), "cashewctl pools --")


def test_zsh_takes_its_completion_script(tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    script = tmp_path / "_cashewctl"
    script.write_text(ctl("completion", "zsh").stdout)
    done = subprocess.run(["zsh", "-n", str(script)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


# With a proxy.

CONFIGURATION = """\
global:
  admin: off
  grpc: unix:{folder}/ctl.sock
  state_dir: {folder}/state
cache:
  listen: 127.0.0.1:{cache}
  hash: fnv1a_64
  auto_eject_hosts: true
  server_retry_timeout: 1000
  membership: grpc
fixed:
  listen: 127.0.0.1:{fixed}
  hash: fnv1a_64
  servers:
   - 127.0.0.1:{server}:1 only
"""


class Control:
    """A proxy with a `membership: grpc` pool, cache, and a static one, fixed."""

    def __init__(self, servers, folder):
        self.servers = servers
        self.address = "unix:%s/ctl.sock" % folder
        self.text = CONFIGURATION.format(
            folder=folder, cache=free_port(), fixed=free_port(), server=servers[0].port
        )
        self.proxy = Proxy(self.text)

    def run(self, *args, code=0, stdin=""):
        """What it prints: the output, or with an exit code of an error, the error."""
        done = ctl(*args, address=self.address, stdin=stdin)
        assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def json(self, *args):
        return json.loads(self.run(*args, "--output", "json"))

    def argument(self, name):
        """NAME=HOST:PORT, of servers[i] for the name s<i>."""
        return "%s=127.0.0.1:%d" % (name, self.servers[int(name[1:])].port)

    def set_all(self):
        self.run("set", "cache", *[self.argument("s%d" % i) for i in range(3)])

    def status_of(self, name):
        return {s["server"]["name"]: s for s in self.json("servers", "cache")["servers"]}[name]

    def names(self):
        return [s["server"]["name"] for s in self.json("servers", "cache")["servers"]]


@pytest.fixture
def control(servers):
    folder = tempfile.mkdtemp(prefix="cashew-ctl-")
    made = Control(servers, folder)
    try:
        with made.proxy:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_pools_tells_who_takes_updates(control):
    pools = {p["name"]: p for p in control.json("pools")["pools"]}
    assert pools["cache"]["membership"] == "grpc" and pools["fixed"]["membership"] == "static"
    assert (pools["cache"]["version"], pools["fixed"]["server_count"]) == (0, 1)
    table = control.run("pools")
    assert table.splitlines()[0].startswith("POOL") and "\x1b" not in table


def test_a_list_is_set_and_serves(control):
    assert "dry run: added s0, s1, s2" in control.run(
        "set", "cache", "--dry-run", *[control.argument("s%d" % i) for i in range(3)]
    )
    assert control.names() == []
    control.set_all()
    assert sorted(control.names()) == ["s0", "s1", "s2"]
    with control.proxy.client("cache") as client:
        assert client.set("k", "v") == b"STORED"
    where = control.json("locate", "cache", "k")
    assert control.servers[int(where["server"][1:])].get("k") == b"v"
    assert where["owner"] == where["server"] != where["if_ejected"]


def test_add_and_remove_change_the_list(control):
    control.set_all()
    assert control.json("remove", "cache", "s1")["removed"] == ["s1"]
    assert "s1" not in control.names()
    assert control.json("add", "cache", control.argument("s1") + ":3")["added"] == ["s1"]
    assert control.status_of("s1")["server"]["weight"] == 3
    assert "--replace" in control.run("add", "cache", control.argument("s1"), code=CONFLICT)
    moved = control.json("add", "cache", "--replace", control.argument("s1") + ":2")
    assert moved["changed"] == ["s1"]
    assert "nothing to change" in control.run("add", "cache", control.argument("s1") + ":2")


@pytest.mark.parametrize("suffix", ["", ".json", ".yml"])
def test_a_list_comes_from_a_file(control, tmp_path, suffix):
    path = tmp_path / ("list" + suffix)
    entries = [control.argument("s0"), control.argument("s1") + ":4"]
    path.write_text(json.dumps(entries) if suffix else "# two\n" + "\n".join(entries))
    control.run("set", "cache", "-f", str(path))
    assert sorted(control.names()) == ["s0", "s1"]
    saved = control.run("servers", "cache", "--output", "json")
    control.run("set", "cache", control.argument("s2"))
    control.run("set", "cache", "-f", "-", stdin=saved)
    assert control.status_of("s1")["server"]["weight"] == 4


def test_what_does_not_exist_is_four(control):
    control.set_all()
    for args in (
        ["servers", "nope"],
        ["watch", "nope"],
        ["set", "nope", "a=127.0.0.1:1"],
        ["add", "nope", "a=127.0.0.1:1"],
        ["remove", "cache", "nope"],
        ["server", "drain", "cache", "nope"],
        ["server", "down", "nope", "s0"],
        ["locate", "nope", "k"],
    ):
        assert "nope" in control.run(*args, code=NOT_FOUND)


def test_what_the_proxy_refuses_is_one_and_changes_nothing(control):
    control.set_all()
    before = control.json("pools")["pools"]
    assert "membership" in control.run("set", "fixed", "a=127.0.0.1:1", code=REFUSED)
    control.run("set", "cache", "a=[fe80::1]:11211", code=REFUSED)
    control.run("remove", "cache", "s0", "s1", "s2", code=REFUSED)
    assert control.json("pools")["pools"] == before


def test_a_list_that_changed_meanwhile_is_five(control):
    control.set_all()
    version = control.json("servers", "cache")["version"]
    args = ["set", "cache", control.argument("s0"), "--if-version"]
    control.run(*args, str(version + 1), code=CONFLICT)
    control.run(*args, str(version))
    control.run(*args, str(version), code=CONFLICT)


def test_a_pool_that_a_stream_owns_is_five_unless_taken_over(control):
    with grpc_client.Client(control.address) as client, client.stream("sidecar-a") as stream:
        stream.update("cache", ["127.0.0.1:%d" % control.servers[0].port])
        said = control.run("set", "cache", control.argument("s1"), code=CONFLICT)
        assert "sidecar-a" in said
        control.run("add", "cache", control.argument("s1"), code=CONFLICT)
        control.run("remove", "cache", control.names()[0], code=CONFLICT)
        assert control.json("servers", "cache")["updater"] == "sidecar-a"
        control.run("set", "cache", "--take-over", control.argument("s1"))
        assert control.names() == ["s1"]


def test_a_drained_server_gets_no_requests_until_it_is_up(control):
    control.set_all()
    keys = ["key%d" % i for i in range(100)]
    key = next(k for k in keys if control.json("locate", "cache", k)["server"] == "s1")
    assert "draining" in control.run("server", "drain", "cache", "s1", "--for", "1h")
    status = control.status_of("s1")
    assert status["override"]["state"] == "draining" and status["override"]["expires_at"]
    assert not status["routed"]
    where = control.json("locate", "cache", key)
    assert where["server"] != "s1" and where["owner"] == "s1"
    assert "owner" in control.run("locate", "cache", key)
    control.run("server", "up", "cache", "s1")
    assert control.status_of("s1")["override"] is None
    assert control.json("locate", "cache", key)["server"] == "s1"


def test_a_server_can_be_down_or_weigh_more_for_a_while(control):
    control.set_all()
    control.run("server", "down", "cache", "s0")
    assert control.status_of("s0")["override"]["state"] == "down"
    control.run("server", "weight", "cache", "s0", "7")
    assert control.status_of("s0")["override"]["weight"] == 7
    assert "weight 7" in control.run("servers", "cache")
    control.run("server", "up", "cache", "s0")
    control.run("server", "weight", "cache", "s0", "7", "--for", "100ms")
    wait_until(lambda: control.status_of("s0")["override"] is None, what="the end of --for")


def test_watch_shows_each_change(control):
    env = {**os.environ, "CASHEW_GRPC": control.address}
    argv = [CTL, "watch", "cache", "--count", "2", "--output", "json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env) as watch:
        assert json.loads(watch.stdout.readline())["pool"]["servers"] == []
        control.run("set", "cache", control.argument("s0"))
        assert json.loads(watch.stdout.readline())["added"] == ["s0"]
        assert watch.wait(10) == 0


def test_status_tells_why_the_proxy_is_not_ready(control):
    status = control.json("status")
    assert status["pid"] == control.proxy.pid
    assert not status["ready"] and any("cache" in r for r in status["not_ready_reasons"])
    control.set_all()
    assert control.json("status")["ready"]
    assert str(control.proxy.pid) in control.run("status")
    assert control.json("version")["proxy"] == status["version"]


def test_stats_are_those_of_the_stats_port(control):
    control.set_all()
    with control.proxy.client("cache") as client:
        for i in range(50):
            client.set("key%d" % i, "v")
    stats = json.loads(control.run("stats"))
    assert sum(s["requests"] for s in stats["cache"].values() if isinstance(s, dict)) == 50


def test_watched_stats_are_rates(control):
    control.set_all()
    rates = json.loads(
        control.run("stats", "--watch", "--count", "1", "--interval", "50ms", "--output", "json")
    )
    assert {s["name"] for s in rates["pools"][0]["servers"]} <= {"s0", "s1", "s2", "only"}
    lines = control.run("stats", "--watch", "--count", "2", "--interval", "50ms").splitlines()
    assert sum("server=s0" in line for line in lines) == 2


def read_screen(fd, until, timeout=10):
    """What a terminal got, up to and including `until`."""
    seen, end = b"", time.monotonic() + timeout
    while until not in seen:
        assert time.monotonic() < end, seen
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 65536)
    return seen


@pytest.mark.parametrize("leave", [b"q", b"\x03"])
def test_the_live_table_gives_the_terminal_back(control, leave):
    control.set_all()
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip("no pseudo-terminals here (is /dev/pts mounted?): %s" % error)
    before = termios.tcgetattr(theirs)
    argv = [CTL, "stats", "--watch", "--interval", "100ms", "--address", control.address]
    live = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        screen = read_screen(ours, b"REQ/S")
        assert b"\x1b[?1049h" in screen
        os.write(ours, leave)
        read_screen(ours, b"\x1b[?1049l")
        assert live.wait(10) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        live.kill()
        live.wait()
        os.close(ours)
        os.close(theirs)


def test_reload_tells_what_changed_or_every_fault(control):
    assert control.json("reload")["changed"] is False
    path = control.proxy.conf_path

    def write(text):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    write(control.text.replace("\nfixed:", "\nother:"))
    answer = control.json("reload")
    assert (answer["added"], answer["removed"]) == (["other"], ["fixed"])
    write(control.text.replace("hash: fnv1a_64", "hash: nonsense"))
    said = control.run("reload", code=REFUSED)
    assert said.count("nonsense") == 2
    assert "nonsense" in control.json("status")["last_reload_error"]


def test_stop_waits_until_the_process_has_gone(control):
    assert "has drained and ended" in control.run("stop", "--wait")
    assert control.proxy.popen.wait(5) == 0
    control.proxy.popen = None
    control.run("status", code=UNREACHABLE)


def test_upgrade_changes_the_process_and_keeps_the_clients(control):
    control.set_all()
    with control.proxy.client("cache") as client:
        assert client.set("k", "before") == b"STORED"
        answer = control.json("upgrade")
        try:
            assert answer["pid"] != control.proxy.pid
            wait_until(lambda: control.json("status")["pid"] == answer["pid"], timeout=15)
            assert client.get("k") == b"before"
            assert sorted(control.names()) == ["s0", "s1", "s2"]
            assert control.proxy.popen.wait(15) == 0
        finally:
            control.run("drain", "--wait")
            control.proxy.popen = None


# Over TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, and certificates of the proxy, an operator and a sidecar."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca",
            "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("proxy", "operator", "sidecar"):
        (folder / (name + ".ext")).write_text("subjectAltName=DNS:%s\n" % name)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name,
                "-keyout", name + ".key", "-out", name + ".csr")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", name + ".ext", "-out", name + ".pem")
    return folder


def test_tls_shows_who_asks_and_makes_sure_of_the_proxy(servers, certificates, tmp_path):
    address = "127.0.0.1:%d" % free_port()
    tls = {"cert": "proxy.pem", "key": "proxy.key", "client_ca": "ca.pem"}
    settings = {
        "grpc": address,
        "state_dir": str(tmp_path),
        "grpc_tls": {k: str(certificates / v) for k, v in tls.items()},
    }
    # The names are lists, which the writer of the configuration does not know.
    lists = "    allowed_sans: [operator, sidecar]\n    admin_sans: [operator]\n"
    proxy = Proxy({"fixed": {"servers": servers}}, settings=settings, start=False)
    with open(proxy.conf_path, encoding="utf-8") as f:
        text = f.read().replace("  grpc_tls:\n", "  grpc_tls:\n" + lists)
    with open(proxy.conf_path, "w", encoding="utf-8") as f:
        f.write(text)

    def run(*args, who=None, name="proxy"):
        options = ["--tls-ca", str(certificates / "ca.pem"), "--tls-server-name", name]
        if who:
            options += ["--tls-cert", str(certificates / (who + ".pem")),
                        "--tls-key", str(certificates / (who + ".key"))]
        return ctl(*args, *options, "--timeout", "5s", address=address)

    with proxy:
        proxy.start()
        assert run("status", who="operator").returncode == 0
        assert run("pools", who="sidecar").returncode == 0
        refused = run("status", who="sidecar")
        assert (refused.returncode, "not allowed" in refused.stderr) == (REFUSED, True)
        assert run("pools").returncode == UNREACHABLE
        assert run("pools", who="operator", name="another").returncode == UNREACHABLE
        plain = ctl("pools", "--timeout", "5s", address=address)
        assert plain.returncode == UNREACHABLE and "--tls" in plain.stderr
