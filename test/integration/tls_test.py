"""TLS between clients and Cashew, and between Cashew and servers: memcached's own TLS
is not in Debian's build, so a second Cashew with a TLS listener stands in for it."""

import shutil
import socket
import ssl
import subprocess
import threading

import pytest
from support import Proxy


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, a server's and a client's certificate, made by openssl."""
    assert shutil.which("openssl"), "install the package openssl"
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test ca",
            "-keyout", "ca.key", "-out", "ca.pem")
    for name, alt in (("server", "DNS:localhost,IP:127.0.0.1"), ("client", "DNS:client")):
        (folder / (name + ".ext")).write_text("subjectAltName=%s\n" % alt)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name,
                "-keyout", name + ".key", "-out", name + ".csr")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", name + ".ext", "-out", name + ".pem")
    return folder


def listen_tls(folder, client_ca=False):
    listen = {"cert": str(folder / "server.pem"), "key": str(folder / "server.key")}
    if client_ca:
        listen["client_ca"] = str(folder / "ca.pem")
    return {"listen": listen}


class TlsClient:
    def __init__(self, proxy, folder, certificate=False):
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        if certificate:
            context.load_cert_chain(folder / "client.pem", folder / "client.key")
        raw = socket.create_connection(("127.0.0.1", proxy.address()), timeout=10)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def ask(self, request, lines=1):
        self.socket.sendall(request)
        return b"".join(self.file.readline() for _ in range(lines))

    def get(self, key):
        self.socket.sendall(b"get %s\r\n" % key)
        head = self.file.readline()
        if head == b"END\r\n":
            return None
        size = int(head.split()[3])
        value = self.file.read(size + 2)[:-2]
        assert self.file.readline() == b"END\r\n"
        return value

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.mark.improved
def test_a_tls_listener_serves_small_and_large_values(servers, certificates):
    pool = {"servers": servers, "hash": "md5", "tls": listen_tls(certificates)}
    with Proxy({"alpha": pool}) as proxy:
        client = TlsClient(proxy, certificates)
        for size in (0, 1, 100, 16384, 70000, 900000):
            value = bytes(i % 251 for i in range(size))
            key = b"tls-%d" % size
            assert client.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, size, value)) == b"STORED\r\n"
            assert client.get(key) == value
        pipelined = b"".join(b"get tls-1\r\n" for _ in range(200))
        assert client.ask(pipelined, 600).count(b"END\r\n") == 200
        client.close()
        stats = proxy.wait_stats(lambda s: s["alpha"]["client_connections"] == 0, 5, "the close")
        assert stats["alpha"]["client_eof"] == 1


@pytest.mark.improved
def test_many_tls_clients_at_once_get_their_own_values(servers, certificates):
    pool = {"servers": servers, "hash": "md5", "tls": listen_tls(certificates)}
    wrong = []
    with Proxy({"alpha": pool}) as proxy:

        def work(number):
            client = TlsClient(proxy, certificates)
            for i in range(50):
                key, value = b"m%d-%d" % (number, i), b"v%d-%d" % (number, i) * 100
                client.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
                if client.get(key) != value:
                    wrong.append(key)
            client.close()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert wrong == []


@pytest.mark.improved
def test_plain_text_on_a_tls_port_is_an_error_of_that_client_only(servers, certificates):
    pool = {"servers": servers, "tls": listen_tls(certificates)}
    with Proxy({"alpha": pool}) as proxy:
        good = TlsClient(proxy, certificates)
        with socket.create_connection(("127.0.0.1", proxy.address()), timeout=10) as plain:
            plain.sendall(b"get a\r\n" * 10)
            while plain.recv(4096):
                pass
        proxy.wait_stats(lambda s: s["alpha"]["client_err"] == 1, 5, "client_err")
        assert good.ask(b"set plain 0 0 1\r\nx\r\n") == b"STORED\r\n"
        good.close()


@pytest.mark.improved
def test_a_client_certificate_is_required_when_a_client_ca_is_given(servers, certificates):
    pool = {"servers": servers, "tls": listen_tls(certificates, client_ca=True)}
    with Proxy({"alpha": pool}) as proxy:
        client = TlsClient(proxy, certificates, certificate=True)
        assert client.ask(b"set cert 0 0 1\r\nx\r\n") == b"STORED\r\n"
        client.close()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            stranger = TlsClient(proxy, certificates)
            stranger.socket.sendall(b"get cert\r\n")
            assert stranger.socket.recv(100) == b"", "a client without a certificate was served"
            raise ConnectionError("closed, as it should be")


@pytest.mark.improved
def test_servers_are_reached_over_tls_and_verified(servers, certificates):
    inner = {"servers": servers, "hash": "md5", "tls": listen_tls(certificates, client_ca=True)}
    with Proxy({"inner": inner}) as behind:
        tls = {"ca": str(certificates / "ca.pem"), "cert": str(certificates / "client.pem"),
               "key": str(certificates / "client.key"), "server_name": "localhost"}
        line = "127.0.0.1:%d:1 tls-0" % behind.address()
        with Proxy({"outer": {"servers": [line], "tls": {"servers": tls}}}) as proxy:
            with proxy.client() as client:
                value = "x" * 100000
                assert client.set("through", value) == b"STORED"
                assert client.get("through") == value.encode()
        wrong = dict(tls, server_name="other.example")
        with Proxy({"outer": {"servers": [line], "tls": {"servers": wrong}}}) as proxy:
            with proxy.client() as client:
                client.send("get through\r\n")
                assert client.read_until("\r\n").startswith(b"SERVER_ERROR TLS")


@pytest.mark.improved
def test_a_certificate_that_cannot_be_read_is_named(servers, certificates, tmp_path):
    tls = {"listen": {"cert": str(tmp_path / "absent.pem"), "key": str(certificates / "server.key")}}
    with pytest.raises(Exception) as failure:
        Proxy({"alpha": {"servers": servers, "tls": tls}}).close()
    assert "absent.pem" in str(failure.value)
