"""A bare Debian 12 in a folder, with processes and a network of its own."""

import contextlib
import os
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "cashew")
# Init of the new process namespace; what follows the mounts is inherited by all that joins.
FIRST_PROCESS = """
mount --make-rprivate /
mkdir -p "$ROOT/proc" "$ROOT/dev" "$ARCHIVES"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs tmpfs "$ROOT/dev"
for device in null zero full random urandom tty; do
  touch "$ROOT/dev/$device"
  mount --bind "/dev/$device" "$ROOT/dev/$device"
done
mkdir "$ROOT/dev/shm" "$ROOT/dev/pts"
ln -s /proc/self/fd "$ROOT/dev/fd"
mount --bind "$ARCHIVES" "$ROOT/var/cache/apt/archives"
ip link set lo up
echo ready
exec sleep infinity
"""
ENVIRONMENT = {"HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive",
               "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class BareDebian:
    """One root. A command sees its files and processes, and only its loopback network unless it
    asks for the machine's."""

    def __init__(self, root):
        self.root = root
        self._started = []
        # Ends with this process, however that happens, and takes all it holds with it.
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--fork",
             "--kill-child", "bash", "-euc", FIRST_PROCESS],
            stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, ROOT=root, ARCHIVES=os.path.join(CACHE, "apt-archives")))
        assert self._holder.stdout.readline() == "ready\n", "namespaces are refused here"
        with open("/proc/%d/task/%d/children" % ((self._holder.pid,) * 2), encoding="ascii") as f:
            self._first = f.read().split()[0]

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def _argv(self, command, network, words):
        join = ["nsenter", "--target", self._first, "--mount", "--pid"]
        if not network:
            join.append("--net")
        # nsenter would go on in a folder of the machine.
        return join + ["--wd=/", "--", "env", "-i"] + [
            "%s=%s" % item for item in {**ENVIRONMENT, **words}.items()
        ] + ["chroot"] + command

    def run(self, command, network=False, check=True):
        """Runs a shell command to its end; its status and both outputs together."""
        done = subprocess.run(self._argv([self.root, "bash", "-c", command], network, {}),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
        assert not check or done.returncode == 0, "%s: %d\n%s" % (
            command, done.returncode, done.stdout)
        return done

    def start(self, argv, user=0, **words):
        """Starts a program as the user with that number, with those environment variables."""
        process = subprocess.Popen(
            self._argv(["--userspec=%d:%d" % (user, user), "--groups=", self.root] + argv, False,
                       words),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._started.append(process)
        return process

    def install(self, what):
        self.run("apt-get -q -y --no-install-recommends install " + what, network=True)

    def files(self):
        """Every path except what apt and dpkg keep for themselves and what any run leaves."""
        mine = ("/proc", "/dev", "/tmp", "/var/log", "/var/lib/apt", "/var/lib/dpkg", "/var/cache",
                "/run")
        found = set()
        for folder, folders, names in os.walk(self.root):
            inside = folder[len(self.root):]
            folders[:] = [name for name in folders if inside + "/" + name not in mine]
            found.update(inside + "/" + name for name in folders + names)
        return found

    def close(self):
        self._holder.kill()
        self._holder.wait()
        for process in self._started:
            process.communicate()


@contextlib.contextmanager
def bare_debian():
    tar = subprocess.run([os.path.join(HERE, "bare_debian.sh")], check=True, text=True,
                         stdout=subprocess.PIPE).stdout.strip()
    root = tempfile.mkdtemp(prefix="cashew-debian-")
    debian = None
    try:
        subprocess.run(["tar", "-C", root, "--exclude=./dev/*", "-xf", tar], check=True)
        with contextlib.suppress(OSError):
            shutil.copy("/etc/resolv.conf", os.path.join(root, "etc"))
            shutil.copy("/etc/hosts", os.path.join(root, "etc"))
        with open(os.path.join(root, "usr/sbin/policy-rc.d"), "w", encoding="ascii") as policy:
            policy.write("#!/bin/sh\nexit 101\n")  # packages start nothing here
        os.chmod(policy.name, 0o755)
        debian = BareDebian(root)
        debian.run("apt-get -q update", network=True)
        yield debian
    finally:
        if debian:
            debian.close()
        shutil.rmtree(root)
