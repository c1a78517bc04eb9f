"""The image, built and run: what it says of itself, how big it is, and that it serves as the chart
runs it, with a read-only root, no capability and a user who is only a number.

./dev image --test runs it: root and podman are needed, and CASHEW_IMAGE names the image.
"""

import json
import os
import shutil
import subprocess

import pytest
from support import HOST, RawClient, free_port, wait_until
from support.net import is_listening

IMAGE = os.environ.get("CASHEW_IMAGE")
BASE = "localhost/cashew-base:bookworm-slim"
USER = 65532
LIMIT = 100 * 1000 * 1000  # bytes beyond the base, unpacked

pytestmark = [
    pytest.mark.skipif(not IMAGE, reason="CASHEW_IMAGE names no image: ./dev image --test"),
    pytest.mark.skipif(not shutil.which("podman"), reason="podman is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="containers of the test's need root"),
]

CONFIG = """
global: {admin: "127.0.0.1:%(admin)d"}
alpha:
  listen: 127.0.0.1:%(port)d
  hash: fnv1a_64
  distribution: ketama
  servers:
%(servers)s
"""


def podman(*words, check=True):
    done = subprocess.run(["podman", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, "%s\n%s" % (" ".join(words), done.stdout)
    return done


@pytest.fixture(scope="module")
def about():
    return json.loads(podman("image", "inspect", IMAGE).stdout)[0]


def unpacked_bytes(image):
    folder = podman("image", "mount", image).stdout.strip()
    try:
        return int(subprocess.run(["du", "-s", "--apparent-size", "--block-size=1", folder],
                                  stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0])
    finally:
        podman("image", "unmount", image)


def writable(inside, folder):
    """The options that put an empty folder there, which the image's user may write to."""
    folder.mkdir()
    os.chown(folder, USER, USER)
    return ["--volume", "%s:%s" % (folder, inside)]


def test_it_runs_as_a_number_other_than_root_and_checks_no_health(about):
    assert about["Config"]["User"] == "%d:%d" % (USER, USER)
    assert not about.get("HealthCheck") and "Healthcheck" not in about["Config"]
    assert about["Config"]["Entrypoint"] == ["cashew"]
    assert about["Config"].get("StopSignal") == "SIGTERM"


def test_its_labels_say_what_it_is(about):
    labels = about["Config"]["Labels"]
    version = IMAGE.rpartition(":")[2]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"] not in ("", "unknown")


def test_it_is_small_beyond_its_base():
    beyond = unpacked_bytes(IMAGE) - unpacked_bytes(BASE)
    print("beyond the base, unpacked: %.1f MB" % (beyond / 1e6))
    assert 0 < beyond < LIMIT


def test_all_its_programs_run(about):
    version = about["Config"]["Labels"]["org.opencontainers.image.version"]
    for program, option in (("cashew", "-V"), ("nutcracker", "-V"), ("cashewctl", "--version"),
                            ("cashew-sidecar", "--version")):
        said = podman("run", "--rm", "--pull=never", "--network=none", "--read-only",
                      "--entrypoint", program, IMAGE, option).stdout
        assert version in said, program


def test_it_serves_as_the_chart_runs_it_and_drains_when_stopped(servers, tmp_path):
    words = {"port": free_port(), "admin": free_port(),
             "servers": "\n".join("   - " + server.server_line("cache-%d" % n)
                                  for n, server in enumerate(servers))}
    config = tmp_path / "config"
    config.mkdir(mode=0o755)
    (config / "nutcracker.yml").write_text(CONFIG % words)
    name = "cashew-image-test-%d" % os.getpid()
    podman("run", "--detach", "--name", name, "--pull=never", "--network=host", "--read-only",
           "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
           "--volume", "%s:/etc/cashew:ro" % config,
           *writable("/run/cashew", tmp_path / "run"),
           *writable("/var/lib/cashew", tmp_path / "state"),
           IMAGE, "--conf-file=/etc/cashew/nutcracker.yml", "--stats-addr=127.0.0.1",
           "--stats-port=%d" % free_port())
    try:
        wait_until(lambda: is_listening(words["port"]), 20, "the proxy to listen")
        with RawClient((HOST, words["port"])) as client:
            client.set("greeting", b"hello")
            assert client.get("greeting") == b"hello"
        assert "alpha" in podman("exec", name, "cashewctl", "status").stdout
        assert podman("exec", name, "touch", "/usr/bin/written", check=False).returncode != 0
        podman("stop", "--time", "45", name)
        state = json.loads(podman("inspect", name).stdout)[0]["State"]
        assert state["ExitCode"] == 0, podman("logs", name).stdout
    finally:
        podman("rm", "--force", "--volumes", name)
