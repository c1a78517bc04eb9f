"""Real programs on free loopback ports: memcached, the proxy under test, nutcracker."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from .net import HOST, RawClient, connect, free_port, is_listening, wait_until

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZER_REPORT = re.compile(
    rb"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: "
)


class Failed(AssertionError):
    """A process did not do what was asked of it; the text has its log."""


def find_program(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        raise Failed("%s is not installed: ./dev setup installs it" % name)
    return path


def _outlive_nobody(argv):
    """The child is killed when this process ends, however that happens."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] + argv if setpriv else argv


def _thread_states(pid):
    """A letter for each thread, as in /proc/PID/stat: R, S, T (stopped), …"""
    states = ""
    for task in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(OSError):
            path = "/proc/%d/task/%s/stat" % (pid, task)
            with open(path, encoding="ascii", errors="replace") as f:
                states += f.read().rpartition(")")[2].split()[0]
    return states


class Usage:
    """What a process uses, read from /proc."""

    def __init__(self, pid):
        self.pid = pid

    def cpu_ns(self):
        """User and system time of all its threads: the scheduler's nanosecond counters."""
        total = 0
        for task in os.listdir("/proc/%d/task" % self.pid):
            try:
                with open("/proc/%d/task/%s/schedstat" % (self.pid, task), encoding="ascii") as f:
                    total += int(f.read().split()[0])
            except OSError:
                pass  # that thread has just ended
        return total

    def rss(self):
        """Resident bytes."""
        with open("/proc/%d/statm" % self.pid, encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.pid))


class CacheServer:
    """A server program of its own on a loopback port, or on a unix socket. What it says (a
    redis-server says it to standard output) is kept for the error when it does not start."""

    program = None

    def __init__(self, port=None, *, unix_path=None, host=HOST, args=()):
        self.unix_path, self.host, self.args = unix_path, host, list(args)
        self.port = None if unix_path else (port or free_port())
        self.popen = None
        self.start()

    def arguments(self):
        """How the program is told where to listen, and the rest."""
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    @property
    def pid(self):
        return self.popen.pid

    @property
    def usage(self):
        return Usage(self.pid)

    @property
    def address(self):
        """As RawClient takes it."""
        return self.unix_path or (self.host, self.port)

    def server_line(self, name, weight=1):
        """An entry of a pool's `servers`."""
        where = self.unix_path or "%s:%d" % (self.host, self.port)
        return "%s:%d %s" % (where, weight, name)

    def start(self):
        self._said = tempfile.TemporaryFile()
        self.popen = subprocess.Popen(
            _outlive_nobody([find_program(self.program), *self.arguments(), *self.args]),
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )
        what = "%s at %s to answer" % (self.program, self.address)
        wait_until(self._answers_or_ended, 10, what)
        if self.popen.poll() is not None:
            self._said.seek(0)
            said = self._said.read().decode("utf-8", "replace")
            raise Failed("%s ended: %s" % (self.program, said))

    def _answers_or_ended(self):
        if self.popen.poll() is not None:
            return True
        try:
            connect(self.address, 1).close()
            return True
        except OSError:
            return False

    def kill9(self):
        """No goodbye: the kernel closes its connections."""
        self.popen.kill()
        self.popen.wait()

    def pause(self):
        """SIGSTOP: connections stay up and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        # A thread that was just running may still answer one request.
        wait_until(lambda: set(_thread_states(self.pid)) == {"T"}, what="the server to stop")

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def restart(self):
        """On the same port, empty."""
        if self.popen.poll() is None:
            self.kill9()
        self._said.close()
        self.start()

    def close(self):
        if self.popen.poll() is None:
            self.kill9()
        self._said.close()
        if self.unix_path:
            with contextlib.suppress(OSError):
                os.unlink(self.unix_path)


class Memcached(CacheServer):
    program = "memcached"

    def __init__(self, port=None, *, args=("-m", "64", "-t", "1"), **options):
        super().__init__(port, args=args, **options)

    def arguments(self):
        where = ["-s", self.unix_path] if self.unix_path else ["-l", self.host, "-p", str(self.port)]
        user = ["-u", "root"] if os.getuid() == 0 else []  # as root it insists on being told
        return ["-U", "0", *where, *user]

    def client(self):
        return RawClient(self.address)

    def get(self, key):
        with self.client() as client:
            return client.get(key)

    def get_many(self, keys):
        with self.client() as client:
            return client.get_many(keys)

    def stats(self):
        with self.client() as client:
            client.send("stats\r\n")
            lines = client.read_until("END\r\n").decode("latin-1").split("\r\n")
        return dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT "))

    def requests_served(self):
        stats = self.stats()
        return sum(int(stats[name]) for name in ("cmd_get", "cmd_set", "cmd_touch"))


@contextlib.contextmanager
def memcached_servers(count, **options):
    """`count` fresh servers; all are gone when the block ends."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Memcached(**options)) for _ in range(count)]


def _yaml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{%s}" % ", ".join("%s: %s" % (k, _yaml_value(v)) for k, v in value.items())
    return '"%s"' % str(value).replace("\\", "\\\\").replace('"', '\\"')


def to_yaml(sections):
    """Block style only: nutcracker's reader knows no other."""
    lines = []
    for name, keys in sections.items():
        lines.append("%s:" % name)
        for key, value in keys.items():
            if key == "servers":
                lines.append("  servers:")
                # A leading bracket would begin a YAML list.
                lines += ["   - %s" % (_yaml_value(s) if s[0] == "[" else s) for s in value]
            elif isinstance(value, dict):
                lines.append("  %s:" % key)
                lines += ["    %s: %s" % (k, _yaml_value(v)) for k, v in value.items()]
            else:
                lines.append("  %s: %s" % (key, _yaml_value(value)))
    return "\n".join(lines) + "\n"


class Proxy:
    """The binary that CASHEW_BIN names (default build/bin/cashew), run with a
    configuration written for it.

    `pools` is {name: {key: value}} or the text of a file. A pool without `listen`
    gets a free loopback port; a `servers` list may hold Memcached and FakeServer
    objects, which are then named s0, s1, … in order. Leaving a `with` block stops the
    proxy by SIGTERM and requires a clean exit; if the block failed, the end of its log
    is printed.
    """

    def __init__(
        self,
        pools,
        *,
        binary=None,
        args=(),  # more command line options
        settings=None,  # keys of the `global` section; Cashew only
        write_global=True,
        stats_port=None,
        prefix=(),  # a command that the proxy is run under, such as taskset
        start=True,
    ):
        self.binary = os.path.abspath(binary or default_binary())
        if not os.access(self.binary, os.X_OK):
            raise Failed("%s is not there: ./dev build makes it" % self.binary)
        self.dir = tempfile.mkdtemp(prefix="cashew-test-")
        os.chmod(self.dir, 0o755)
        self.args, self.prefix = list(args), list(prefix)
        self.stats_port = stats_port or free_port()
        self.admin_port = None
        self.popen = None
        self.ports = {}  # pool: port, or the path of a unix socket
        self.conf_path = os.path.join(self.dir, "cashew.yml")
        self.log_path = os.path.join(self.dir, "proxy.log")
        self.stderr_path = os.path.join(self.dir, "stderr")
        self.pid_path = os.path.join(self.dir, "proxy.pid")
        if isinstance(pools, str):
            text = pools
            for name, listen in re.findall(r"^(\w+):\n(?:  .*\n)*?  listen: (\S+)", text, re.M):
                self.ports[name] = listen if listen[0] == "/" else _port_of(listen)
        else:
            text = to_yaml(self._sections(pools, settings or {}, write_global))
        with open(self.conf_path, "w", encoding="utf-8") as f:
            f.write(text)
        if start:
            self.start()

    @property
    def is_sanitized(self):
        """A sanitizer keeps what was freed, and checks everything: memory and time mean nothing."""
        with open(self.binary, "rb") as f:
            image = f.read()
        return b"__asan_init" in image or b"__tsan_init" in image

    @property
    def is_cashew(self):
        return is_cashew(self.binary)

    def _sections(self, pools, settings, write_global):
        sections = {}
        if self.is_cashew and write_global:
            self.admin_port = free_port()
            sections["global"] = {
                "admin": "%s:%d" % (HOST, self.admin_port),
                "grpc": "off",
                # {dir} stands for the proxy's own directory.
                **{
                    key: value.replace("{dir}", self.dir) if isinstance(value, str) else value
                    for key, value in settings.items()
                },
            }
        for name, keys in pools.items():
            keys = dict(keys)
            listen = keys.pop("listen", None) or "%s:%d" % (HOST, free_port())
            servers = [_server_line(s, i) for i, s in enumerate(keys.pop("servers", []))]
            sections[name] = {"listen": listen, **keys}
            if servers or keys.get("membership") != "grpc":
                sections[name]["servers"] = servers
            self.ports[name] = listen.split(" ")[0] if listen[0] == "/" else _port_of(listen)
        return sections

    # Life and death.

    def command(self):
        return [
            *self.prefix,
            self.binary,
            *("-c", self.conf_path),
            *("-o", self.log_path),
            *("-s", str(self.stats_port)),
            *("-a", HOST),
            *("-p", self.pid_path),
            *("-i", "200"),  # nutcracker adds its counters up this often
            *self.args,
        ]

    def start(self, timeout=20):
        with open(self.stderr_path, "ab") as stderr:
            self.popen = subprocess.Popen(
                _outlive_nobody(self.command()),
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                # Whatever it creates by default goes into its own directory.
                env={**os.environ, "RUNTIME_DIRECTORY": self.dir},
            )
        end = time.monotonic() + timeout
        while not self._is_ready():
            if self.popen.poll() is not None:
                self._fail("the proxy ended at start, %s" % _status(self.popen.returncode))
            if time.monotonic() > end:
                self._fail("the proxy does not listen after %d s" % timeout)
            time.sleep(0.01)
        return self

    def _is_ready(self):
        return is_listening(self.stats_port) and all(
            os.path.exists(p) if isinstance(p, str) else is_listening(p)
            for p in self.ports.values()
        )

    def stop(self, timeout=15):
        """SIGTERM and a clean end: Cashew exits with 0, nutcracker dies of the signal."""
        if self.popen is None:
            return
        if self.popen.poll() is not None:
            self._fail("the proxy had ended by itself, %s" % _status(self.popen.returncode))
        self.popen.terminate()
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            self._fail("the proxy did not end within %d s of SIGTERM" % timeout)
        if code != (0 if self.is_cashew else -signal.SIGTERM):
            self._fail("the proxy ended after SIGTERM, %s" % _status(code))
        if SANITIZER_REPORT.search(self._output()):
            self._fail("a sanitizer spoke")
        self.popen = None

    def kill9(self):
        self.popen.kill()
        self.popen.wait()
        self.popen = None

    def restart(self):
        self.stop()
        return self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *exc):
        try:
            if kind is None:
                self.stop()
            else:
                sys.stderr.write("%s\n" % self.story())
        finally:
            self.close()

    def close(self):
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    # What it says.

    def _output(self):
        parts = []
        for path in (self.log_path, self.stderr_path):
            with contextlib.suppress(OSError), open(path, "rb") as f:
                parts.append(f.read())
        return b"".join(parts)

    def log(self):
        return self._output().decode("utf-8", "replace")

    def story(self, lines=40):
        """The command line and the end of the log, for a failure's text."""
        return "%s\n--- log, last lines\n%s" % (
            " ".join(self.command()),
            "\n".join(self.log().splitlines()[-lines:]),
        )

    def _fail(self, what):
        text = "%s\n%s" % (what, self.story())
        self.close()
        raise Failed(text)

    # What it does.

    @property
    def pid(self):
        return self.popen.pid

    @property
    def usage(self):
        return Usage(self.pid)

    def signal(self, number):
        os.kill(self.pid, number)

    def address(self, pool=None):
        """Where a pool listens: the port or the path; of the only pool without a name."""
        return self.ports[pool or next(iter(self.ports))]

    def client(self, pool=None, timeout=5.0):
        return RawClient(self.address(pool), timeout)

    def stats(self):
        """The stats port's JSON."""
        return read_stats(self.stats_port)

    def pool_stats(self, pool=None):
        return self.stats()[pool or next(iter(self.ports))]

    def wait_stats(self, predicate, timeout=5.0, what="the stats"):
        """Polls the stats port until `predicate(stats)` is true; returns those stats."""
        seen = {}

        def check():
            seen["stats"] = self.stats()
            return predicate(seen["stats"])

        try:
            wait_until(check, timeout, what, every=0.05)
        except AssertionError as error:
            raise AssertionError("%s; they are %s" % (error, json.dumps(seen["stats"]))) from None
        return seen["stats"]

    def http(self, path):
        """(status, text) from the HTTP admin port."""
        request = "http://%s:%d%s" % (HOST, self.admin_port, path)
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return reply.status, reply.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8")

    def metric(self, name, **labels):
        """The sum over all series of `name` that carry these labels."""
        total, found = 0.0, False
        for series, value in self.metrics():
            if series[0] == name and all(series[1].get(k) == v for k, v in labels.items()):
                total, found = total + value, True
        if not found:
            raise AssertionError("/metrics has no %s %s" % (name, labels or ""))
        return total

    def metrics(self):
        """[((name, labels), value)] of /metrics."""
        status, text = self.http("/metrics")
        if status != 200:
            raise AssertionError("/metrics answered %d" % status)
        return parse_metrics(text)


def parse_metrics(text):
    rows = []
    for line in text.splitlines():
        match = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)", line)
        if match:
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
            rows.append(((match.group(1), labels), float(match.group(3))))
    return rows


def read_stats(port):
    with socket.create_connection((HOST, port), 5) as s:
        chunks = []
        while True:
            data = s.recv(65536)
            if not data:
                break
            chunks.append(data)
    return json.loads(b"".join(chunks))


class Nutcracker(Proxy):
    """The real one, to compare with."""

    def __init__(self, pools, **options):
        super().__init__(pools, binary=find_program("nutcracker"), **options)


def default_binary():
    return os.environ.get("CASHEW_BIN") or os.path.join(REPOSITORY, "build", "bin", "cashew")


def is_cashew(binary):
    return os.path.basename(os.path.realpath(binary)).startswith("cashew")


def _server_line(server, index):
    if isinstance(server, str):
        return server
    if hasattr(server, "server_line"):
        return server.server_line("s%d" % index)
    return server.address("s%d" % index)


def _port_of(listen):
    return int(listen.rpartition(":")[2])


def _status(code):
    return "exit status %d" % code if code >= 0 else "by signal %s" % signal.Signals(-code).name
