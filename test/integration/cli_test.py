"""The command line: every option, what is printed where, exit codes, signals, the pid
file and the log, as operators' scripts and init systems know them from nutcracker."""

import os
import re
import signal
import subprocess
import time

import pytest

from support import HOST, Memcached, Proxy, RawClient, free_port, wait_until
from support.processes import default_binary

BINARY = os.path.abspath(default_binary())
NAME = os.path.basename(BINARY)

POOL_METRICS = "client_eof client_err client_connections server_ejects forward_error fragments"
SERVER_METRICS = (
    "server_eof server_err server_timedout server_connections server_ejected_at requests"
    " request_bytes responses response_bytes in_queue in_queue_bytes out_queue out_queue_bytes"
)


def run(*args, cwd=None, binary=BINARY, timeout=20):
    return subprocess.run(
        [binary, *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        encoding="utf-8",
        check=False,
    )


def quiet_pool(port=None, extra=""):
    """A pool that starts without any server being there."""
    return (
        "alpha:\n  listen: %s:%d\n%s  servers:\n   - %s:%d:1 s0\n"
        % (HOST, port or free_port(), extra, HOST, free_port())
    )


@pytest.fixture
def good_conf(tmp_path):
    path = tmp_path / "good.yml"
    path.write_text(quiet_pool())
    return str(path)


class Daemon:
    """A proxy started with -d, known only by its pid file."""

    def __init__(self, tmp_path, *args):
        self.port, self.stats_port = free_port(), free_port()
        (tmp_path / "daemon.yml").write_text(quiet_pool(self.port))
        self.pid_file, self.log = tmp_path / "daemon.pid", tmp_path / "daemon.log"
        self.result = run(
            *("-d", "-c", "daemon.yml", "-o", "daemon.log", "-p", "daemon.pid"),
            *("-s", str(self.stats_port), "-a", HOST),
            *args,
            cwd=tmp_path,
        )
        wait_until(lambda: self.pid_file.exists() and self.pid_file.read_text(), what="a pid file")
        self.pid = int(self.pid_file.read_text())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)

    def alive(self):
        try:
            with open("/proc/%d/stat" % self.pid, encoding="ascii", errors="replace") as f:
                return f.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False


# What only prints.


@pytest.mark.parametrize("option", ["-h", "--help", "--hel"])
def test_help_goes_to_stderr_and_names_every_option(option):
    result = run(option)
    assert result.returncode == 0
    assert result.stdout == ""
    for text in "help version test-conf daemonize describe-stats verbose output".split():
        assert "--" + text in result.stderr
    for text in "conf-file stats-port stats-addr stats-interval pid-file mbuf-size".split():
        assert "--" + text in result.stderr
    assert "Usage: %s" % NAME in result.stderr


@pytest.mark.parametrize("option", ["-V", "--version", "--vers"])
def test_version_is_three_lines_on_stderr(option):
    result = run(option)
    assert result.returncode == 0
    assert result.stdout == ""
    assert re.fullmatch(
        r"This is %s-\S+\nasync event backend: epoll\n\n" % NAME, result.stderr
    ), result.stderr


@pytest.mark.parametrize("option", ["-D", "--describe-stats"])
def test_describe_stats_lists_the_metrics_in_nutcrackers_layout(option):
    result = run(option)
    assert result.returncode == 0
    assert result.stdout == ""
    head, pool, server = re.split(r"(?:pool|server) stats:\n", result.stderr)
    assert head.startswith("This is %s-" % NAME)
    row = re.compile(r'  (\S+) +"[^"]+"')
    assert [row.match(x).group(1) for x in pool.strip("\n").split("\n")] == POOL_METRICS.split()
    assert [row.match(x).group(1) for x in server.strip("\n").split("\n")] == SERVER_METRICS.split()
    assert '  client_eof          "# eof on client connections"\n' in pool
    assert '  requests            "# requests"\n' in server


def test_words_that_are_not_options_are_ignored():
    assert run("word", "-V", "another").returncode == 0


def test_printing_wins_over_testing_the_configuration():
    result = run("-t", "-V", "-c", "/nonexistent.yml")
    assert result.returncode == 0
    assert result.stderr.startswith("This is ")


# Option errors.


@pytest.mark.parametrize(
    "args, line",
    [
        (["-o"], "option -o requires a file name"),
        (["-c"], "option -c requires a file name"),
        (["--conf-file"], "option -c requires a file name"),
        (["-p"], "option -p requires a file name"),
        (["-v", "x"], "option -v requires a number"),
        (["-v"], "option -v requires a number"),
        (["-v", "-1"], "option -v requires a number"),
        (["-v", "0x10"], "option -v requires a number"),
        (["-s", "5k"], "option -s requires a number"),
        (["-i", "x"], "option -i requires a number"),
        (["-a"], "option -a requires a string"),
        (["-m", "0"], "option -m requires a non-zero number"),
        (["-m", "511"], "mbuf chunk size must be between 512 and 16777216 bytes"),
        (["-m", "16777217"], "mbuf chunk size must be between 512 and 16777216 bytes"),
        (["-s", "0"], "option -s value 0 is not a valid port"),
        (["-s", "65536"], "option -s value 65536 is not a valid port"),
        (["-X"], "invalid option -- 'X'"),
        (["-?"], "invalid option -- '?'"),
    ],
)
def test_an_option_error_is_one_line_then_the_usage(args, line):
    result = run("-V", *args)  # an option error wins over -V, wherever it stands
    assert result.returncode == 1
    assert result.stdout == ""
    first, rest = result.stderr.split("\n", 1)
    assert first == "%s: %s" % (NAME, line)
    assert rest.startswith("Usage: %s" % NAME)


@pytest.mark.improved
def test_an_unknown_long_option_is_named():
    result = run("--nosuchoption")
    assert result.returncode == 1
    assert result.stderr.startswith("%s: " % NAME)
    assert "nosuchoption" in result.stderr.split("\n")[0]
    assert "\0" not in result.stderr


@pytest.mark.improved
def test_verbosity_is_another_name_for_verbose(good_conf):
    assert run("-t", "-c", good_conf, "--verbosity=7").returncode == 0
    assert run("-t", "-c", good_conf, "--verbosity", "x").stderr.startswith(
        "%s: option -v requires a number" % NAME
    )


def test_a_verbosity_above_eleven_is_accepted():
    assert run("-v", "99", "-V").returncode == 0


# -t


def test_a_good_configuration_passes_the_test(good_conf):
    result = run("-t", "-c", good_conf)
    assert result.returncode == 0
    assert result.stdout == ""
    first = result.stderr.split("\n")[0]
    assert first == "%s: configuration file '%s' syntax is ok" % (NAME, good_conf)


def test_testing_a_configuration_binds_nothing(tmp_path):
    with Memcached() as taken:
        conf = tmp_path / "taken.yml"
        conf.write_text(quiet_pool(taken.port))
        assert run("-t", "-c", str(conf)).returncode == 0


BAD_CONFIGURATIONS = [
    ("no space after the colon", "alpha:\n  listen:127.0.0.1:22121\n", 2, ["listen"]),
    (
        "no indent",
        "alpha:\nlisten: 127.0.0.1:22121\nservers:\n - 127.0.0.1:11211:1\n",
        None,
        ["indent"],
    ),
    ("an unknown key", quiet_pool(22121, "  tmeout: 400\n"), 3, ["alpha", "tmeout"]),
    ("a wrong number", quiet_pool(22121, "  timeout: soon\n"), 3, ["alpha", "timeout", "soon"]),
    (
        "an unknown hash",
        quiet_pool(22121, "  hash: sha1\n"),
        3,
        ["alpha", "hash", "sha1", "fnv1a_64"],
    ),
    (
        "a server without a weight",
        "alpha:\n  listen: 127.0.0.1:22121\n  servers:\n   - 127.0.0.1:11211\n",
        4,
        ["alpha", "127.0.0.1:11211", "weight"],
    ),
    ("no servers", "alpha:\n  listen: 127.0.0.1:22121\n", None, ["alpha", "servers"]),
    ("an empty file", "", None, []),
]


@pytest.mark.parametrize("what, text, line, words", BAD_CONFIGURATIONS, ids=lambda x: None)
def test_a_bad_configuration_fails_the_test(tmp_path, what, text, line, words):
    conf = tmp_path / "bad.yml"
    conf.write_text(text)
    result = run("-t", "-c", str(conf))
    assert result.returncode == 1, what
    assert result.stdout == ""
    first = result.stderr.split("\n")[0]
    assert first == "%s: configuration file '%s' syntax is invalid" % (NAME, conf)


@pytest.mark.improved
@pytest.mark.parametrize(
    "what, text, line, words", BAD_CONFIGURATIONS, ids=[row[0] for row in BAD_CONFIGURATIONS]
)
def test_a_bad_configuration_is_explained(tmp_path, what, text, line, words):
    conf = tmp_path / "bad.yml"
    conf.write_text(text)
    reasons = run("-t", "-c", str(conf)).stderr.split("\n", 1)[1]
    assert reasons.strip(), "no reason was given"
    for word in words:
        assert word in reasons
    if line is not None:
        assert ":%d:" % line in reasons, reasons


@pytest.mark.improved
def test_every_fault_is_told_at_once(tmp_path):
    conf = tmp_path / "bad.yml"
    conf.write_text(quiet_pool(22121, "  timeout: soon\n  hash: sha1\n  tmeout: 4\n"))
    reasons = run("-t", "-c", str(conf)).stderr
    for line in (3, 4, 5):
        assert ":%d:" % line in reasons


@pytest.mark.improved
def test_a_running_proxy_refuses_what_the_test_refuses_and_says_why(tmp_path):
    conf = tmp_path / "bad.yml"
    conf.write_text(quiet_pool(22121, "  timeout: soon\n"))
    log = tmp_path / "log"
    result = run("-c", str(conf), "-o", str(log), "-s", str(free_port()), "-a", HOST)
    assert result.returncode == 1
    assert "soon" in result.stderr + log.read_text()


@pytest.mark.improved
def test_the_missing_default_configuration_is_named_with_the_example(tmp_path):
    result = run("-s", str(free_port()), "-a", HOST, cwd=tmp_path)
    assert result.returncode == 1
    assert "conf/nutcracker.yml" in result.stderr
    assert "example" in result.stderr


def test_a_missing_configuration_fails_the_test():
    result = run("-t", "-c", "/nonexistent/c.yml")
    assert result.returncode == 1
    assert "configuration file '/nonexistent/c.yml' syntax is invalid" in result.stderr


# Starting.


def test_an_output_file_that_cannot_be_opened_ends_the_start(good_conf):
    result = run("-c", good_conf, "-o", "/nonexistent/log", "-s", str(free_port()), "-a", HOST)
    assert result.returncode == 1


@pytest.mark.improved
def test_a_pid_file_that_cannot_be_written_ends_the_start(tmp_path, good_conf):
    log = tmp_path / "log"
    result = run(
        *("-c", good_conf, "-p", "/nonexistent/pid", "-o", str(log)),
        *("-s", str(free_port()), "-a", HOST),
    )
    assert result.returncode == 1
    assert "/nonexistent/pid" in result.stderr + log.read_text()


def test_an_unresolvable_stats_address_ends_the_start(tmp_path, good_conf):
    log = tmp_path / "log"
    result = run("-c", good_conf, "-o", str(log), "-s", str(free_port()), "-a", "no such host")
    assert result.returncode == 1
    assert "no such host" in result.stderr + log.read_text()


def test_a_second_proxy_on_the_same_stats_port_says_why_it_ends(tmp_path, good_conf):
    with Proxy(quiet_pool()) as first:
        log = tmp_path / "log"
        result = run(
            "-c", good_conf, "-o", str(log), "-s", str(first.stats_port), "-a", HOST
        )
        assert result.returncode == 1
        told = result.stderr + log.read_text()
        assert "%s:%d" % (HOST, first.stats_port) in told
        assert "Address already in use" in told


def test_a_listening_address_that_is_taken_says_which(tmp_path):
    with Memcached() as taken:
        conf, log = tmp_path / "c.yml", tmp_path / "log"
        conf.write_text(quiet_pool(taken.port))
        result = run("-c", str(conf), "-o", str(log), "-s", str(free_port()), "-a", HOST)
        assert result.returncode == 1
        told = result.stderr + log.read_text()
        assert "%s:%d" % (HOST, taken.port) in told
        assert "Address already in use" in told


def test_called_by_a_link_named_nutcracker_it_answers_to_that_name(tmp_path, good_conf):
    link = tmp_path / "nutcracker"
    link.symlink_to(BINARY)
    version = run("-V", binary=str(link)).stderr
    assert version.startswith("This is nutcracker-")
    tested = run("-t", "-c", good_conf, binary=str(link)).stderr
    assert tested.startswith("nutcracker: configuration file '")
    failed = run("-X", binary=str(link)).stderr
    assert failed.startswith("nutcracker: invalid option -- 'X'\nUsage: nutcracker ")


def test_a_link_named_nutcracker_runs_a_proxy(tmp_path):
    link = tmp_path / "nutcracker"
    link.symlink_to(BINARY)
    with Memcached() as server, Proxy({"alpha": {"servers": [server]}}, binary=str(link)) as proxy:
        with proxy.client() as client:
            assert client.set("a", "1") == b"STORED"
        assert proxy.stats()["service"] == "nutcracker"


def test_the_log_goes_to_stderr_when_no_file_is_given(tmp_path, good_conf):
    if NAME == "nutcracker":
        pytest.skip("the packaged nutcracker has another default")
    with subprocess.Popen(
        [BINARY, "-c", good_conf, "-s", str(free_port()), "-a", HOST],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as proxy:
        try:
            line = proxy.stderr.readline()
            proxy.terminate()
            out, _ = proxy.communicate(timeout=15)
        finally:
            proxy.kill()
    assert b"started" in line
    assert proxy.returncode == 0
    assert out == b""


def test_a_small_mbuf_size_changes_nothing_for_clients(servers):
    pool = {"alpha": {"hash": "md5", "servers": servers}}
    with Proxy(pool, args=["-m", "512"]) as proxy, proxy.client() as client:
        value = "v" * 5000
        assert client.set("small-mbuf", value) == b"STORED"
        assert client.get("small-mbuf") == value.encode()


# Running.


@pytest.mark.improved
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_with_zero_and_removes_the_pid_file(number):
    proxy = Proxy(quiet_pool())
    try:
        assert open(proxy.pid_path, encoding="ascii").read() == str(proxy.pid)
        proxy.signal(number)
        assert proxy.popen.wait(15) == 0
        assert not os.path.exists(proxy.pid_path)
    finally:
        proxy.close()


@pytest.mark.improved
def test_a_stop_signal_answers_what_was_asked_and_closes_idle_clients(servers):
    pool = {"alpha": {"hash": "md5", "servers": servers}}
    with Proxy(pool) as proxy, proxy.client() as busy, proxy.client() as idle:
        idle.set("idle", "1")
        servers[0].pause(), servers[1].pause(), servers[2].pause()
        try:
            busy.send("set busy 0 0 1\r\nx\r\n")
            time.sleep(0.2)  # it must have been read; there is no reply to wait for
            proxy.signal(signal.SIGTERM)
            idle.expect_closed()
        finally:
            servers[0].resume(), servers[1].resume(), servers[2].resume()
        busy.expect("STORED\r\n")
        busy.expect_closed()
        assert proxy.popen.wait(15) == 0
        proxy.popen = None


def test_a_daemon_leaves_its_parent_at_once_and_writes_its_pid(tmp_path):
    with Daemon(tmp_path) as daemon:
        assert daemon.result.returncode == 0
        assert daemon.result.stderr == ""
        wait_until(lambda: _answers(daemon.port), what="the daemon to listen")
        with open("/proc/%d/cmdline" % daemon.pid, "rb") as f:
            assert os.path.basename(f.read().split(b"\0")[0]).decode() == NAME
        assert os.getsid(daemon.pid) != os.getsid(0)
        for fd in (0, 1, 2):
            assert os.readlink("/proc/%d/fd/%d" % (daemon.pid, fd)) == "/dev/null"
        assert os.readlink("/proc/%d/cwd" % daemon.pid) == str(tmp_path)
        assert os.stat(daemon.pid_file).st_mode & 0o777 == 0o644
        os.kill(daemon.pid, signal.SIGTERM)
        wait_until(lambda: not daemon.alive(), 15, "the daemon to end")


@pytest.mark.improved
def test_a_daemon_removes_its_pid_file_when_it_ends(tmp_path):
    with Daemon(tmp_path) as daemon:
        wait_until(lambda: _answers(daemon.port), what="the daemon to listen")
        os.kill(daemon.pid, signal.SIGTERM)
        wait_until(lambda: not daemon.alive(), 15, "the daemon to end")
        assert not daemon.pid_file.exists()


@pytest.mark.improved
def test_a_daemon_that_cannot_start_fails_in_its_parent(tmp_path):
    with Memcached() as taken:
        (tmp_path / "c.yml").write_text(quiet_pool(taken.port))
        result = run(
            *("-d", "-c", "c.yml", "-o", "log", "-s", str(free_port()), "-a", HOST), cwd=tmp_path
        )
    assert result.returncode == 1
    assert str(taken.port) in result.stderr + (tmp_path / "log").read_text()


def test_hangup_reopens_the_log():
    with Proxy(quiet_pool()) as proxy:
        rotated = proxy.log_path + ".1"
        os.rename(proxy.log_path, rotated)
        proxy.signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(proxy.log_path), what="a new log file")
        size = os.path.getsize(rotated)
        proxy.signal(signal.SIGUSR1)  # something to log
        wait_until(lambda: os.path.getsize(proxy.log_path) > 0, what="a line in the new log")
        assert os.path.getsize(rotated) == size


def test_ttin_and_ttou_move_the_log_level_within_its_bounds():
    with Proxy(quiet_pool(), args=["-v", "10"]) as proxy:

        def after(number, pattern):
            before = len(proxy.log())
            proxy.signal(number)
            wait_until(lambda: re.search(pattern, proxy.log()[before:]), what=pattern)

        after(signal.SIGTTIN, r"level.*\b11\b")
        after(signal.SIGTTIN, r"SIGTTIN")  # already at the top
        after(signal.SIGTTOU, r"level.*\b10\b")


def test_usr1_is_logged_and_harmless(servers):
    with Proxy({"alpha": {"servers": servers}}) as proxy, proxy.client() as client:
        proxy.signal(signal.SIGUSR1)
        wait_until(lambda: "SIGUSR1" in proxy.log(), what="SIGUSR1 in the log")
        assert client.set("usr1", "1") == b"STORED"


def test_the_stats_port_gives_json_and_closes(servers):
    with Proxy({"alpha": {"servers": servers}}) as proxy:
        with RawClient(proxy.stats_port) as client:
            line = client.read_until("\n")
            assert line.startswith(b'{"service":"nutcracker"')
            client.expect_closed()
        stats = proxy.stats()
        assert set(stats) >= {"service", "source", "version", "uptime", "timestamp"}
        assert set(stats["alpha"]) == set(POOL_METRICS.split()) | {"s0", "s1", "s2"}
        assert list(stats["alpha"]["s0"]) == SERVER_METRICS.split()


def test_the_stats_port_answers_several_readers_in_turn():
    with Proxy(quiet_pool()) as proxy:
        readers = [RawClient(proxy.stats_port) for _ in range(5)]
        for reader in readers:
            assert reader.read_until("\n").endswith(b"}\n")
            reader.close()


@pytest.mark.improved
def test_the_admin_port_says_alive_and_ready(servers):
    with Proxy({"alpha": {"servers": servers}}) as proxy:
        assert proxy.http("/livez")[0] == 200
        assert proxy.http("/readyz")[0] == 200
        assert proxy.http("/nosuchpage")[0] == 404
        with proxy.client() as client:
            client.set("admin", "1")
        wait_until(
            lambda: proxy.metric("cashew_server_requests_total", pool="alpha") == 1,
            what="one request in /metrics",
        )


def _answers(port):
    try:
        RawClient(port).close()
        return True
    except OSError:
        return False
