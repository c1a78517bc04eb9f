"""cashew-sidecar between a scripted API server, over TLS, and a real proxy with real
memcached servers."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest
from support import HOST, Memcached, Proxy, RawClient, free_port, wait_until
from support.processes import default_binary

TOKEN = "a-service-account-token"


def sidecar_binary():
    path = os.path.join(os.path.dirname(os.path.abspath(default_binary())), "cashew-sidecar")
    assert os.access(path, os.X_OK), "%s is not there: ./dev build makes it" % path
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 and its key: file names."""
    assert shutil.which("openssl"), "install the package openssl"
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out",
         "cert.pem"],
        cwd=folder, check=True, capture_output=True)
    return str(folder / "cert.pem"), str(folder / "key.pem")


class ApiServer:
    """EndpointSlices of namespace demo, list and watch, as a Kubernetes API server speaks.
    EndpointSlices on a real one cannot hold loopback addresses; here they do."""

    def __init__(self, certificate, port=None):
        self.port = port or free_port()
        self.changed = threading.Condition()
        self.version = 100
        self.slices = {}  # name: object
        self.events = []  # (version, line)
        self.refuse = None  # (code, Status) for every request
        self.requests = []
        self.generation = 0  # raised to cut watches
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                with contextlib.suppress(OSError):
                    api.serve(self)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):
                pass  # a client that went away

        self.server = Server((HOST, self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.cut_watches()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def serve(self, request):
        url = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        with self.changed:
            self.requests.append(query)
        if self.refuse:
            return self.answer(request, *self.refuse)
        if request.headers["Authorization"] != "Bearer " + TOKEN:
            return self.answer(request, 401, {"kind": "Status", "code": 401})
        assert url.path == "/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices"
        assert query["labelSelector"] == "kubernetes.io/service-name=mc"
        if query.get("watch"):
            return self.watch(request, int(query["resourceVersion"]))
        with self.changed:
            body = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
                    "metadata": {"resourceVersion": str(self.version)},
                    "items": list(self.slices.values())}
        return self.answer(request, 200, body)

    def answer(self, request, code, body):
        data = json.dumps(body).encode()
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def watch(self, request, version):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.flush()
        generation = self.generation
        sent = version
        while True:
            with self.changed:
                self.changed.wait_for(
                    lambda: self.generation != generation or self.version > sent)
                if self.generation != generation:
                    request.close_connection = True
                    return
                lines = [line for at, line in self.events if at > sent]
                sent = self.version
            for line in lines:
                request.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            request.wfile.flush()

    def put(self, name, endpoints, ports=None):
        """Adds or changes a slice; endpoints are (pod, address, conditions) or None."""
        with self.changed:
            self.version += 1
            kind = "MODIFIED" if name in self.slices else "ADDED"
            self.slices[name] = {
                "metadata": {"name": name, "namespace": "demo",
                             "resourceVersion": str(self.version)},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": endpoints and [
                    {"addresses": [address], "conditions": conditions, "hostname": pod,
                     "targetRef": {"kind": "Pod", "namespace": "demo", "name": pod,
                                   "uid": "%s@%s" % (pod, address)}}
                    for pod, address, conditions in endpoints],
            }
            self._tell(kind, self.slices[name])

    def expire(self):
        """410 Gone to whoever watches."""
        with self.changed:
            self.version += 1
            self._tell("ERROR", {"kind": "Status", "code": 410, "reason": "Expired",
                                 "message": "too old resource version"})

    def _tell(self, kind, what):
        line = json.dumps({"type": kind, "object": what}).encode() + b"\n"
        self.events.append((self.version, line))
        self.changed.notify_all()

    def cut_watches(self):
        with self.changed:
            self.generation += 1
            self.changed.notify_all()


READY = {"ready": True, "serving": True, "terminating": False}
GOING = {"ready": False, "serving": True, "terminating": True}
STARTING = {"ready": False, "serving": False, "terminating": False}


class Sidecar:
    def __init__(self, folder, api, certificate, *args):
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps({
            "current-context": "test",
            "contexts": [{"name": "test",
                          "context": {"cluster": "c", "user": "u", "namespace": "demo"}}],
            "clusters": [{"name": "c",
                          "cluster": {"server": "https://127.0.0.1:%d" % api.port,
                                      "certificate-authority": certificate[0]}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        }))
        self.port = free_port()
        self.log_path = folder / "sidecar.log"
        self.command = [sidecar_binary(), "--kubeconfig", str(self.kubeconfig), "--listen",
                        "%s:%d" % (HOST, self.port), "-o", str(self.log_path), "-v", "6", *args]
        self.popen = None

    def run(self, *args, timeout=30):
        return subprocess.run([*self.command, *args], capture_output=True, text=True,
                              timeout=timeout)

    def __enter__(self):
        self.popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.get("/livez")[0] == 200, 10, "the sidecar to listen")
        return self

    def __exit__(self, kind, *exc):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            code = self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            code = self.popen.wait()
        if kind is None:
            assert code == 0, self.log()
        else:
            print(self.log())

    def get(self, path):
        try:
            with urllib.request.urlopen("http://%s:%d%s" % (HOST, self.port, path)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self):
        return self.get("/readyz")[0] == 200

    def metric(self, series):
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError("no series %s" % series)

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""


@pytest.fixture
def api(certificate):
    with ApiServer(certificate) as server:
        yield server


@pytest.fixture
def memcacheds():
    """Two servers on one port and two loopback addresses, as pods are."""
    port = free_port()
    with Memcached(port, host="127.0.0.2") as a, Memcached(port, host="127.0.0.3") as b:
        yield port, a, b


def grpc_proxy(**pool):
    pool = {"distribution": "ketama", "hash": "fnv1a_64", "timeout": 1000,
            "membership": "grpc", **pool}
    return Proxy({"cache": pool}, settings={"grpc": "unix:{dir}/grpc.sock",
                                            "state_dir": "{dir}/state"})


def grpc_target(proxy):
    return "unix:%s/grpc.sock" % proxy.dir


def ports(port):
    return [{"name": "memcached", "port": port, "protocol": "TCP"}]


def set_key(proxy, key):
    with RawClient(proxy.address("cache")) as client:
        client.send(b"set %s 0 0 1\r\nx\r\n" % key)
        return client.recv_line()


def keys_on(proxy, count=40):
    """Answers to `count` sets of different keys, without repetition."""
    return {set_key(proxy, b"key%d" % i) for i in range(count)}


def items(port, host):
    with socket.create_connection((host, port), timeout=5) as s:
        s.sendall(b"stats\r\nquit\r\n")
        text = s.makefile("rb").read().decode()
    return int(text.split("STAT curr_items ")[1].split()[0])


def test_the_proxy_serves_from_the_pods_of_the_service(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        assert keys_on(proxy) == {b"STORED"}
        assert items(port, "127.0.0.2") == 40
        assert items(port, "127.0.0.3") == 0
        # A second pod in a second slice takes its share.
        api.put("mc-y", [("mc-1", "127.0.0.3", READY)], ports(port))
        wait_until(lambda: sidecar.metric('cashew_sidecar_updates_acked_total{pool="cache"}') == 2,
                   20, "the second list")
        assert keys_on(proxy) == {b"STORED"}
        assert items(port, "127.0.0.3") > 0
        assert sidecar.metric('cashew_sidecar_servers{pool="cache",state="ready"}') == 2
        # The first goes: its keys move to the other, after one list for the burst of changes.
        api.put("mc-x", [("mc-0", "127.0.0.2", GOING)], ports(port))
        api.put("mc-x", None, None)
        wait_until(lambda: sidecar.metric('cashew_sidecar_servers{pool="cache",state="ready"}') == 1
                   and sidecar.metric('cashew_sidecar_pool_in_sync{pool="cache"}') == 1,
                   20, "the third list")
        assert keys_on(proxy) == {b"STORED"}
        assert items(port, "127.0.0.3") == 40


def test_restart_of_the_proxy_brings_the_list_back(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        proxy.kill9()
        api.put("mc-x", [("mc-0", "127.0.0.3", READY)], ports(port))
        proxy.start()
        wait_until(lambda: sidecar.metric('cashew_sidecar_pool_in_sync{pool="cache"}') == 1,
                   20, "the list to be sent again")
        assert set_key(proxy, b"after") == b"STORED"
        assert items(port, "127.0.0.3") == 1


def test_loss_of_the_api_server_changes_nothing(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        api.refuse = (500, {"kind": "Status", "code": 500, "message": "etcd is away"})
        api.cut_watches()
        errors = 'cashew_sidecar_source_errors_total{source="demo/mc"}'
        wait_until(lambda: sidecar.metric(errors) >= 1, 20, "an error to be seen")
        assert sidecar.is_ready()
        assert set_key(proxy, b"meanwhile") == b"STORED"
        api.refuse = None
        api.put("mc-x", [("mc-0", "127.0.0.3", READY)], ports(port))
        wait_until(lambda: sidecar.metric('cashew_sidecar_updates_acked_total{pool="cache"}') == 2,
                   20, "the change to come through")
        # An expired version is listed again and is no change either.
        lists = 'cashew_sidecar_lists_total{source="demo/mc"}'
        before = sidecar.metric(lists)
        api.expire()
        wait_until(lambda: sidecar.metric(lists) == before + 1, 20, "another list")
        assert sidecar.metric('cashew_sidecar_updates_acked_total{pool="cache"}') == 2


def test_service_that_empties_keeps_its_last_list(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "cache=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        wait_until(sidecar.is_ready, 20, "the first list")
        api.put("mc-x", None, None)
        kept = 'cashew_sidecar_updates_kept_empty_total{pool="cache"}'
        wait_until(lambda: sidecar.metric(kept) == 1, 20, "the empty list to be noticed")
        assert set_key(proxy, b"still") == b"STORED"


def test_refused_list_is_reported_and_not_ready(tmp_path, api, certificate):
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(11211))
    with grpc_proxy() as proxy, Sidecar(tmp_path, api, certificate, "--pool",
                                        "other=mc:memcached", "--grpc",
                                        grpc_target(proxy)) as sidecar:
        refused = 'cashew_sidecar_updates_refused_total{pool="other"}'
        wait_until(lambda: sidecar.metric(refused) >= 1, 20, "the refusal")
        code, reasons = sidecar.get("/readyz")
        assert code == 503
        assert 'pool "other": the proxy has taken no list yet' in reasons


def test_once_sends_one_list_and_says_how_it_went(tmp_path, api, certificate, memcacheds):
    port = memcacheds[0]
    api.put("mc-x", [("mc-0", "127.0.0.2", READY)], ports(port))
    with grpc_proxy() as proxy:
        sidecar = Sidecar(tmp_path, api, certificate, "--grpc", grpc_target(proxy), "--once")
        done = sidecar.run("--pool", "cache=mc:memcached")
        assert done.returncode == 0, done.stderr
        assert set_key(proxy, b"a") == b"STORED"
        refused = sidecar.run("--pool", "missing=mc:memcached")
        assert refused.returncode == 1
        assert 'pool "missing"' in refused.stderr


def test_dry_run_prints_the_list(tmp_path, api, certificate):
    api.put("mc-x", [("mc-10", "127.0.0.4", STARTING), ("mc-2", "127.0.0.3", GOING),
                     ("mc-1", "127.0.0.2", READY)], ports(11211))
    sidecar = Sidecar(tmp_path, api, certificate, "--dry-run", "--once")
    done = sidecar.run("--pool", "cache=demo/mc:memcached")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "pool": "cache",
        "source_version": "101",
        "servers": [
            {"name": "mc-1", "address": "127.0.0.2:11211", "state": "READY"},
            {"name": "mc-2", "address": "127.0.0.3:11211", "state": "DRAINING"},
            {"name": "mc-10", "address": "127.0.0.4:11211", "state": "DOWN"},
        ],
    }
    wrong = sidecar.run("--pool", "cache=mc:redis")
    assert wrong.returncode == 1
    assert "none of 3 endpoints can be used" in wrong.stderr


def test_missing_right_is_named_with_verb_and_namespace(tmp_path, api, certificate):
    api.refuse = (403, {"kind": "Status", "code": 403, "reason": "Forbidden",
                        "message": "endpointslices is forbidden"})
    sidecar = Sidecar(tmp_path, api, certificate, "--dry-run", "--once", "--timeout", "1")
    done = sidecar.run("--pool", "cache=mc")
    assert done.returncode == 1
    assert "not allowed to list endpointslices.discovery.k8s.io in namespace demo" in sidecar.log()


def test_unknown_authority_is_not_trusted(tmp_path, api, certificate):
    sidecar = Sidecar(tmp_path, api, certificate, "--dry-run", "--once", "--timeout", "1")
    text = sidecar.kubeconfig.read_text()
    sidecar.kubeconfig.write_text(
        text.replace(certificate[0], "/etc/ssl/certs/ca-certificates.crt"))
    done = sidecar.run("--pool", "cache=mc")
    assert done.returncode == 1
    assert "certificate" in sidecar.log()
    assert api.requests == []


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "no pool to follow"),
        (["--pool", "cache"], "the form is POOL=[NAMESPACE/]SERVICE[:PORT]"),
        (["--pool", "a=mc", "--pool", "a=mc"], "given twice"),
        (["--pool", "a=mc", "--grpc", "10.0.0.1:9152"], "needs TLS"),
        (["--config", "/nonexistent"], "/nonexistent: cannot read the file"),
    ],
)
def test_wrong_options_say_what_would_be_right(tmp_path, api, certificate, args, message):
    done = Sidecar(tmp_path, api, certificate).run(*args)
    assert done.returncode == 1
    assert message in done.stderr
