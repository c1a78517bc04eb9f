"""cashew-sidecar as a process, and a scripted API server for it, over TLS."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

from support import HOST, free_port, wait_until
from support.processes import default_binary

TOKEN = "a-service-account-token"
SERVICE = "kubernetes.io/service-name"
PODS = "/api/v1/namespaces/demo/pods"


def sidecar_binary():
    path = os.path.join(os.path.dirname(os.path.abspath(default_binary())), "cashew-sidecar")
    assert os.access(path, os.X_OK), "%s is not there: ./dev build makes it" % path
    return path


def make_certificate(folder):
    """A self-signed certificate for 127.0.0.1 and its key: file names."""
    assert shutil.which("openssl"), "install the package openssl"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out",
         "cert.pem"],
        cwd=folder, check=True, capture_output=True)
    return str(folder / "cert.pem"), str(folder / "key.pem")


class ApiServer:
    """EndpointSlices and pods' metadata of namespace demo, list and watch, as a Kubernetes API
    server speaks. EndpointSlices on a real one cannot hold loopback addresses; here they do.
    `services` are those that may be asked for."""

    def __init__(self, certificate, port=None, services=("mc",)):
        self.port = port or free_port()
        self.services = services
        self.changed = threading.Condition()
        self.version = 100
        self.slices = {}  # name: object
        self.pods = {}  # likewise
        self.events = []  # (version, service or PODS, line)
        self.refuse = None  # (code, Status) for every request
        self.refuse_pods = None  # likewise, for pods alone
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
        if url.path == PODS:
            if self.refuse_pods:
                return self.answer(request, *self.refuse_pods)
            wanted, kind = PODS, "PartialObjectMetadataList"
            assert "PartialObjectMetadata" in request.headers["Accept"]
        else:
            assert url.path == "/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices"
            label, _, wanted = query["labelSelector"].partition("=")
            kind = "EndpointSliceList"
            assert label == SERVICE and wanted in self.services
        if query.get("watch"):
            return self.watch(request, wanted, int(query["resourceVersion"]))
        with self.changed:
            body = {"kind": kind, "metadata": {"resourceVersion": str(self.version)},
                    "items": [s for s in self.slices.values()
                              if s["metadata"]["labels"][SERVICE] == wanted]
                    if wanted != PODS else list(self.pods.values())}
        return self.answer(request, 200, body)

    def answer(self, request, code, body):
        data = json.dumps(body).encode()
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def watch(self, request, wanted, version):
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
                lines = [line for at, of, line in self.events
                         if at > sent and of in (wanted, None)]
                sent = self.version
            for line in lines:
                request.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            request.wfile.flush()

    def put(self, name, endpoints, ports=None, service="mc"):
        """Adds or changes a slice; endpoints are (pod, address, conditions) or None."""
        with self.changed:
            self.version += 1
            kind = "MODIFIED" if name in self.slices else "ADDED"
            self.slices[name] = {
                "metadata": {"name": name, "namespace": "demo", "labels": {SERVICE: service},
                             "resourceVersion": str(self.version)},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": endpoints and [
                    {"addresses": [address], "conditions": conditions, "hostname": pod,
                     "targetRef": {"kind": "Pod", "namespace": "demo", "name": pod,
                                   "uid": "%s@%s" % (pod, address)}}
                    for pod, address, conditions in endpoints],
            }
            self._tell(kind, self.slices[name], service)

    def annotate(self, pod, annotations):
        """Adds or changes a pod's metadata; None: it is deleted."""
        with self.changed:
            self.version += 1
            kind = "MODIFIED" if pod in self.pods else "ADDED"
            if annotations is None:
                kind, said = "DELETED", self.pods.pop(pod)
            else:
                self.pods[pod] = said = {
                    "kind": "PartialObjectMetadata",
                    "metadata": {"name": pod, "namespace": "demo", "annotations": annotations,
                                 "resourceVersion": str(self.version)}}
            self._tell(kind, said, PODS)

    def expire(self):
        """410 Gone to whoever watches."""
        with self.changed:
            self.version += 1
            self._tell("ERROR", {"kind": "Status", "code": 410, "reason": "Expired",
                                 "message": "too old resource version"})

    def _tell(self, kind, what, service=None):
        """To whoever watches that service's slices, or PODS; without one, to every watcher."""
        line = json.dumps({"type": kind, "object": what}).encode() + b"\n"
        self.events.append((self.version, service, line))
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
