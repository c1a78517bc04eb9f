"""The scripts that the chart and k8s/ bring along, against real servers."""

import contextlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from charts import CHART, ROOT  # noqa: E402
from support import FakeServer, Memcached, Redis, fixed_reply, free_port  # noqa: E402

SET_AND_GET = os.path.join(CHART, "files", "set-and-get.sh")
KEEPALIVED = os.path.join(ROOT, "k8s", "keepalived")


def set_and_get(*pools):
    return subprocess.run(["bash", SET_AND_GET, "127.0.0.1", *pools], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=60, check=False,
                          env=dict(os.environ, ATTEMPTS="1"))


def test_helm_test_passes_when_each_pool_answers_rightly():
    with Memcached() as memcached, Redis() as redis:
        done = set_and_get("memcached:cache:%d" % memcached.port, "redis:sessions:%d" % redis.port)
    assert done.returncode == 0, done.stdout
    assert "pool cache, port" in done.stdout and "pool sessions, port" in done.stdout


def test_helm_test_fails_when_nobody_listens():
    done = set_and_get("memcached:cache:%d" % free_port())
    assert done.returncode == 1
    assert "pool cache" in done.stdout and "Connection refused" in done.stdout


def test_helm_test_fails_and_shows_an_answer_that_is_wrong():
    with FakeServer(fixed_reply(b"SERVER_ERROR no servers\r\n")) as server:
        done = set_and_get("memcached:cache:%d" % server.port)
    assert done.returncode == 1 and "SERVER_ERROR no servers" in done.stdout


def test_helm_test_says_when_there_was_nothing_to_try():
    done = set_and_get()
    assert done.returncode == 0 and "nothing was tried" in done.stdout


@contextlib.contextmanager
def readyz(status):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def keepalived_asks(port):
    return subprocess.run([os.path.join(KEEPALIVED, "cashew-ready"), "127.0.0.1", str(port)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10,
                          check=False).returncode


@pytest.mark.parametrize("status, right", [(200, True), (503, False)])
def test_keepalived_learns_whether_the_proxy_is_ready(status, right):
    with readyz(status) as port:
        assert (keepalived_asks(port) == 0) is right


def test_keepalived_learns_that_the_proxy_is_gone():
    assert keepalived_asks(free_port()) != 0


@pytest.mark.skipif(not shutil.which("keepalived"), reason="no keepalived (Debian: keepalived)")
def test_keepalived_accepts_its_example(tmp_path):
    with open(os.path.join(KEEPALIVED, "keepalived.conf"), encoding="utf-8") as file:
        text = file.read()
    interfaces = sorted(set(os.listdir("/sys/class/net")) - {"lo"})
    if not interfaces:
        pytest.skip("keepalived checks that the interface exists, and there is none but lo")
    script = os.path.join(KEEPALIVED, "cashew-ready")  # where it is not installed
    (tmp_path / "keepalived.conf").write_text(
        text.replace("/usr/local/bin/cashew-ready", script).replace("eth0", interfaces[0]))
    done = subprocess.run(["keepalived", "--config-test", "-f", str(tmp_path / "keepalived.conf")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          check=False)
    # What it dislikes it prints; 2.2.7 ends itself with SIGTERM in either case.
    assert done.stdout == "" and done.returncode in (0, -signal.SIGTERM)
