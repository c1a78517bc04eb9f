"""The Debian package in a bare Debian 12: what it brings, that it runs as its unit says, what it
does to nutcracker and to a proxy that runs while it is upgraded, and that it goes without a trace.

./dev package --test runs it: root, mmdebstrap and a Debian mirror are needed, and CASHEW_DEB
names the package.
"""

import configparser
import os
import re
import shlex
import shutil
import socket
import subprocess

import pytest
from bare_debian import bare_debian
from support.net import wait_until

DEB = os.environ.get("CASHEW_DEB")
DYNAMIC_USER = 61234  # from the range that DynamicUser= takes its numbers from
UNIT = "/lib/systemd/system/cashew.service"
PORTS = (11211, 11212, 11213)  # the servers of the example

pytestmark = [
    pytest.mark.skipif(not DEB, reason="CASHEW_DEB names no package: ./dev package --test"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a root of its own needs root"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="mmdebstrap is not installed"),
]


def install_cashew(debian):
    shutil.copy(DEB, debian.path("/tmp/cashew.deb"))
    debian.install("/tmp/cashew.deb")


@pytest.fixture(scope="module")
def installed():
    with bare_debian() as debian:
        debian.install("memcached systemd")
        install_cashew(debian)
        yield debian


def service(debian):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(debian.path(UNIT))
    return unit["Service"]


class Service:
    """What the service manager does for the unit: its folders, its user, its commands, and an ear
    for its notifications."""

    def __init__(self, debian):
        self.debian = debian
        self.unit = service(debian)
        assert self.unit["DynamicUser"] == "yes" and self.unit["Type"] == "notify"
        self.words = {"NOTIFY_SOCKET": "/run/notify"}
        for kind, above in (("Runtime", "/run/"), ("State", "/var/lib/")):
            folder = above + self.unit[kind + "Directory"]
            os.makedirs(debian.path(folder), mode=int(self.unit[kind + "DirectoryMode"], 8))
            os.chown(debian.path(folder), DYNAMIC_USER, DYNAMIC_USER)
            self.words[kind.upper() + "_DIRECTORY"] = folder
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(debian.path("/run/notify"))
        os.chmod(debian.path("/run/notify"), 0o666)
        self.notifications.settimeout(20)
        before = debian.start(shlex.split(self.unit["ExecStartPre"]), DYNAMIC_USER)
        text, _ = before.communicate(timeout=20)
        assert before.returncode == 0, text
        self.process = debian.start(shlex.split(self.unit["ExecStart"]), DYNAMIC_USER, **self.words)
        self.heard("READY=1")

    def heard(self, word):
        """Waits for a notification with that word, and gives the whole of it."""
        while True:
            lines = self.notifications.recv(4096).decode().splitlines()
            if any(line.startswith(word) for line in lines):
                return lines

    def stop(self):
        """Stops it as the service manager does; its exit status."""
        self.debian.run("kill -TERM $(pidof cashew)")
        self.process.communicate(timeout=60)
        self.notifications.close()
        return self.process.returncode


def ask(debian, port, *lines):
    """What a server answers to these lines until it closes, which `quit` makes it do."""
    words = "".join(line + r"\r\n" for line in (*lines, "quit"))
    return debian.run("exec 3<>/dev/tcp/127.0.0.1/%d; printf %s >&3; cat <&3" % (
        port, shlex.quote(words))).stdout.replace("\r\n", "\n")


def start_memcached(debian):
    for port in PORTS:
        debian.start(["memcached", "-l", "127.0.0.1", "-p", str(port)], user=65534)
        wait_until(lambda: debian.run("exec 3<>/dev/tcp/127.0.0.1/%d" % port,
                                      check=False).returncode == 0, 20, "memcached to listen")


def test_it_brings_programs_manuals_completions_units_and_a_conffile(installed):
    listed = set(installed.run("dpkg -L cashew").stdout.split())
    for name in ("/usr/bin/cashew", "/usr/bin/cashewctl", "/usr/bin/cashew-sidecar",
                 "/usr/bin/nutcracker", "/usr/sbin/nutcracker", UNIT,
                 UNIT.replace(".service", ".socket"), "/etc/cashew/cashew.yml",
                 "/usr/share/man/man8/cashew.8.gz", "/usr/share/man/man8/nutcracker.8.gz",
                 "/usr/share/man/man1/cashewctl.1.gz", "/usr/share/man/man1/cashew-sidecar.1.gz",
                 "/usr/share/bash-completion/completions/cashewctl",
                 "/usr/share/zsh/vendor-completions/_cashewctl",
                 "/usr/share/fish/vendor_completions.d/cashewctl.fish",
                 "/usr/share/doc/cashew/copyright"):
        assert name in listed
        assert os.path.lexists(installed.path(name)), name
    conffiles = installed.run("dpkg-query -W -f '${Conffiles}' cashew").stdout.split()
    assert conffiles[0::2] == ["/etc/cashew/cashew.yml"]


def test_its_programs_know_their_version_and_are_stripped(installed):
    version = installed.run("dpkg-query -W -f '${Version}' cashew").stdout
    for command in ("cashew -V", "/usr/sbin/nutcracker -V", "nutcracker -V", "cashewctl --version",
                    "cashew-sidecar --version"):
        assert version in installed.run(command).stdout, command
    for name in ("cashew", "cashewctl", "cashew-sidecar"):
        assert "not stripped" not in subprocess.run(
            ["file", installed.path("/usr/bin/" + name)], text=True, stdout=subprocess.PIPE,
            check=True).stdout


def test_systemd_finds_nothing_wrong_with_its_units(installed):
    for name in ("cashew.service", "cashew.socket"):
        said = installed.run("systemd-analyze --man=no verify /lib/systemd/system/" + name).stdout
        assert "cashew" not in said


def test_it_serves_as_its_unit_starts_it_and_drains_at_the_end(installed):
    start_memcached(installed)
    running = Service(installed)
    assert ask(installed, 10010, "set greeting 0 0 5", "hello", "get greeting") == (
        "STORED\nVALUE greeting 0 5\nhello\nEND\n")
    homes = [port for port in PORTS if "VALUE" in ask(installed, port, "get greeting")]
    assert len(homes) == 1
    assert "alpha" in installed.run("cashewctl status").stdout
    servers = installed.run("cashewctl servers alpha").stdout
    assert all("cache-%d" % n in servers for n in range(3))
    where = installed.run("cashewctl locate alpha greeting").stdout
    assert "127.0.0.1:%d" % homes[0] in where
    assert running.stop() == 0


# A twemproxy user's file, in the form that its readers know.
NUTCRACKER_YML = """alpha:
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: true
  servers:
   - 127.0.0.1:11211:1
   - 127.0.0.1:11212:1
"""
# Stands for the service manager, which a folder cannot have.
SYSTEMCTL = """#!/bin/sh
echo "$@" >>/run/systemctl.log
case "$*" in
  *USR2*) kill -USR2 "$(cat /run/main.pid)" ;;
esac
"""


def test_an_upgrade_keeps_the_configuration_and_the_clients():
    with bare_debian() as debian:
        debian.install("memcached")
        install_cashew(debian)
        start_memcached(debian)
        with open(debian.path("/etc/cashew/cashew.yml"), "a", encoding="utf-8") as config:
            config.write("# mine\n")
        running = Service(debian)
        first = debian.run("pidof cashew").stdout.strip()
        with open(debian.path("/run/main.pid"), "w", encoding="ascii") as pid:
            pid.write(first)
        os.makedirs(debian.path("/run/systemd/system"))
        with open(debian.path("/usr/local/bin/systemctl"), "w", encoding="ascii") as shim:
            shim.write(SYSTEMCTL)
        os.chmod(shim.name, 0o755)
        os.remove(debian.path("/usr/sbin/policy-rc.d"))
        # A client that asks once before and once after, on one connection.
        client = debian.start(["bash", "-c", r"""
            exec 3<>/dev/tcp/127.0.0.1/10010
            printf 'set kept 0 0 1\r\n1\r\n' >&3; read -r stored <&3; echo "$stored"
            touch /run/asked; while [ ! -e /run/upgraded ]; do sleep 0.05; done
            printf 'get kept\r\nquit\r\n' >&3; cat <&3"""])
        wait_until(lambda: os.path.exists(debian.path("/run/asked")), 20, "the client's reply")

        debian.run("dpkg -i /tmp/cashew.deb")

        said = running.heard("MAINPID=")
        second = next(line for line in said if line.startswith("MAINPID=")).partition("=")[2]
        wait_until(lambda: debian.run("pidof cashew").stdout.split() != [first], 20, "a successor")
        wait_until(lambda: len(debian.run("pidof cashew").stdout.split()) == 1, 60,
                   "the old process to end")
        assert second != first
        with open(debian.path("/run/systemctl.log"), encoding="ascii") as log:
            assert not re.search(r"\b(stop|restart)\b", log.read())
        with open(debian.path("/run/upgraded"), "w", encoding="ascii"):
            pass
        text, _ = client.communicate(timeout=20)
        assert text.replace("\r\n", "\n") == "STORED\nVALUE kept 0 1\n1\nEND\n"
        with open(debian.path("/etc/cashew/cashew.yml"), encoding="utf-8") as config:
            assert config.read().endswith("# mine\n")
        debian.run("kill -TERM $(pidof cashew)")


def test_it_takes_the_place_of_nutcracker_and_leaves_its_configuration():
    with bare_debian() as debian:
        debian.install("nutcracker")
        own = debian.path("/etc/nutcracker/nutcracker.yml")
        with open(own, "w", encoding="ascii") as file:
            file.write(NUTCRACKER_YML)
        assert "nutcracker-0.5.0" in debian.run("nutcracker -V").stdout
        install_cashew(debian)
        status = debian.run("dpkg-query -W -f '${db:Status-Status}' nutcracker", check=False).stdout
        assert status != "installed"
        link = os.path.realpath(debian.path("/usr/sbin/nutcracker"))
        assert link == debian.path("/usr/bin/cashew")
        debian.run("/usr/sbin/nutcracker -t -c /etc/nutcracker/nutcracker.yml")
        with open(own, encoding="ascii") as file:
            assert file.read() == NUTCRACKER_YML


def test_a_purge_leaves_nothing_behind():
    with bare_debian() as debian:
        before = debian.files()
        install_cashew(debian)
        # What the service manager makes for StateDirectory= of a DynamicUser.
        os.makedirs(debian.path("/var/lib/private/cashew"))
        with open(debian.path("/var/lib/private/cashew/list"), "w", encoding="ascii"):
            pass
        os.symlink("private/cashew", debian.path("/var/lib/cashew"))
        assert "/etc/cashew/cashew.yml" in debian.files()
        debian.run("apt-get -q -y autoremove --purge cashew")
        assert debian.files() - before <= {"/var/lib/private"}
        assert before <= debian.files()
