"""The Kubernetes API as the tests use it: objects as dictionaries, and watches.

    api = Api(kubeconfig)
    api.get("/api/v1/namespaces/demo/pods/mc-0")
    api.patch(path, {"status": …})                 # merged as the API's own tools do
    for kind, thing in api.follow("/api/v1/pods"): # never ends; survives the server's absence
        …
"""

import base64
import http.client
import json
import os
import ssl
import tempfile
import threading
import time
import urllib.parse

import yaml

SLICES = "/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices"
MERGE = "application/strategic-merge-patch+json"


class ApiError(Exception):
    """The server refused; `code` is HTTP's, or 0 when it could not be reached."""

    def __init__(self, code, text):
        super().__init__("%s: %s" % (code or "no answer", text))
        self.code = code


class Api:
    """Any thread; a connection for each request."""

    def __init__(self, kubeconfig):
        with open(kubeconfig, encoding="utf-8") as f:
            config = yaml.safe_load(f)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._where = urllib.parse.urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.TemporaryDirectory() as folder:
            names = []
            for part in ("client-certificate-data", "client-key-data"):
                names.append(os.path.join(folder, part))
                with open(names[-1], "wb") as f:
                    f.write(base64.b64decode(user[part]))
            self._tls.load_cert_chain(*names)

    def get(self, path, **query):
        return self._ask("GET", path, query=query)

    def post(self, path, body):
        return self._ask("POST", path, body)

    def put(self, path, body):
        return self._ask("PUT", path, body)

    def patch(self, path, body, how=MERGE):
        return self._ask("PATCH", path, body, how)

    def delete(self, path, body=None):
        return self._ask("DELETE", path, body)

    def follow(self, path, stop=None, **query):
        """("SYNC", [objects]) first and whenever the watch had to begin anew; in between
        ("ADDED" | "MODIFIED" | "DELETED", object). Ends when `stop` is set."""
        stop = stop or threading.Event()
        while not stop.is_set():
            try:
                listed = self.get(path, **query)
                yield "SYNC", listed["items"]
                yield from self._watch(path, listed["metadata"]["resourceVersion"], stop, query)
            except (ApiError, OSError, http.client.HTTPException, ValueError):
                time.sleep(0.2)  # away; the next list tells what was missed

    def _watch(self, path, version, stop, query):
        query = {**query, "watch": 1, "resourceVersion": version, "timeoutSeconds": 300,
                 "allowWatchBookmarks": "true"}
        connection, answer = self._send("GET", path, None, None, query, timeout=310)
        try:
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR" or stop.is_set():
                    return
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
        finally:
            connection.close()

    def _ask(self, method, path, body=None, kind="application/json", query=None):
        try:
            connection, answer = self._send(method, path, body, kind, query, timeout=20)
            try:
                return json.loads(answer.read())
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, str(error)) from error

    def _send(self, method, path, body, kind, query, timeout):
        if query:
            path += "?" + urllib.parse.urlencode(query)
        connection = http.client.HTTPSConnection(
            self._where.hostname, self._where.port, context=self._tls, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": kind} if body is not None else {})
            answer = connection.getresponse()
            if answer.status >= 300:
                raise ApiError(answer.status, answer.read().decode("utf-8", "replace"))
            return connection, answer
        except BaseException:
            connection.close()
            raise
