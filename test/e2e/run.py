#!/usr/bin/env python3
"""The chart and the sidecar against a real control plane, in two tiers.

  fast  pretended nodes: pods are processes of this machine. Needs no root where user namespaces
        are allowed.
  real  a kubelet, containerd and our image, installed by helm. Root.

usage: run.py [--tier fast|real] [--keep] [PYTEST ARGUMENTS]

Without --tier both run, and one whose programs are missing is skipped; a tier that is asked for
by name and cannot run is a failure. A run without arguments for pytest writes RESULTS.md. --keep
leaves the lab running and says how to look at it."""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LAB = HERE / "lab"
RESULTS = HERE / "RESULTS.md"
ORDER = ["lab", "install", "prometheus", "caches", "endpoints", "outages", "upgrade"]
NEEDS = {
    "fast": ["openssl", "curl", "ip", "nsenter", "unshare", "setpriv", "memcached", "protoc"],
    "real": ["openssl", "curl", "ip", "nsenter", "unshare", "memcached", "protoc", "buildah",
             "mmdebstrap", "containerd", "runc", "iptables", "conntrack", "gcc"],
}
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Cannot(Exception):
    """The tier cannot run here, and why."""


def say(text):
    print("\033[1m== %s\033[0m" % text, flush=True)


class Parts:
    """How long each part took."""

    def __init__(self):
        self.seconds = []

    def run(self, what, argv, **options):
        say(what)
        began = time.monotonic()
        code = subprocess.run([str(word) for word in argv], **options).returncode
        self.seconds.append((what, time.monotonic() - began))
        say("%s: %.0f s" % self.seconds[-1])
        return code


def check(tier):
    missing = [name for name in NEEDS[tier] if not shutil.which(name, path=PATH)]
    if missing:
        raise Cannot("not installed: %s; ./dev e2e installs them" % ", ".join(missing))
    if tier == "real" and os.getuid() != 0:
        raise Cannot("a kubelet needs root")
    if tier == "fast" and os.getuid() != 0:
        asked = subprocess.run(["unshare", "-U", "-r", "-n", "true"], capture_output=True)
        if asked.returncode != 0:
            raise Cannot("neither root nor user namespaces: %s" % asked.stderr.decode().strip())


def environment(tier, lab_dir, helm):
    programs = os.environ.get("CASHEW_BIN_DIR") or str(ROOT / "build" / "bin")
    return {**os.environ, "PATH": PATH, "LAB_DIR": lab_dir, "CASHEW_E2E_TIER": tier,
            "CASHEW_BIN_DIR": programs, "CASHEW_BIN": os.path.join(programs, "cashew"),
            "CASHEW_HELM": helm, "PYTHONPATH": str(HERE.parent)}


def build(tier, parts):
    """What Go programs are missing, images besides; the path of helm."""
    options = ["--node"] if tier == "real" else []
    if subprocess.run([LAB / "build.sh", "--missing", *options], capture_output=True).stdout:
        say("the lab's programs are built from Go modules, once: 12 minutes on two cores for the "
            "fast tier, about 15 more for the real one")
        if parts.run("build of the lab's programs", [LAB / "build.sh", *options]) != 0:
            raise Cannot("the lab's programs could not be built")
    if tier == "real" and parts.run("images", [LAB / "images.sh"]) != 0:
        raise Cannot("the images could not be built")
    found = subprocess.run([HERE.parent / "chart" / "get_helm.sh"], capture_output=True, text=True)
    if found.returncode != 0:
        raise Cannot("no helm: %s" % found.stderr)
    return found.stdout.strip()


def play(tier, parts, keep, arguments):
    """The exit status of pytest, and the table."""
    helm = build(tier, parts)
    folder = tempfile.mkdtemp(prefix="cashew-e2e-")
    os.chmod(folder, 0o755)
    lab_dir = os.path.join(folder, "lab")
    env = environment(tier, lab_dir, helm)
    table = {"rows": [], "delays": {}}
    try:
        if parts.run("%s tier: control plane" % tier, [LAB / "up.sh"], env=env) != 0:
            return 1, table
        if tier == "real" and parts.run("real tier: nodes", [LAB / "nodes.sh"], env=env) != 0:
            return 1, table
        files = [str(HERE / ("%s_test.py" % name)) for name in ORDER]
        code = parts.run("%s tier: scenarios" % tier, [
            LAB / "in.sh", "/usr/bin/python3", "-B", "-m", "pytest", "-v", "-rs", "-p",
            "no:cacheprovider", *files, *arguments], env=env, cwd=ROOT)
        if os.path.exists(lab_dir + "/table.json"):
            table = json.loads(pathlib.Path(lab_dir, "table.json").read_text())
        return code, table
    finally:
        if keep:
            say("kept: LAB_DIR=%s %s/in.sh kubectl get pods -A; %s/down.sh ends it" %
                (lab_dir, LAB, LAB))
        else:
            subprocess.run([LAB / "down.sh"], env=env)
            shutil.rmtree(folder, ignore_errors=True)


# The table.

COLUMNS = ["tier", "scenario", "s", "replies", "errors, untouched", "failed gets",
           "refused sets", "keys lost", "keys moved", "may move", "cut off"]


def cells(row):
    out = [row["tier"], row["scenario"], "%.1f" % row["seconds"]]
    if "requests" not in row:
        return out + [""] * (len(COLUMNS) - len(out))
    return out + [str(row["requests"]), str(row["untouched_errors"]), str(row["failed_gets"]),
                  str(row["refused_sets"]), str(row["lost"]), "%.1f %%" % (100 * row["moved"]),
                  "%.1f %%" % (100 * row["may_move"]), str(row["proxy_errors"])]


def aligned(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return ["| %s |" % " | ".join(cell.ljust(width) for cell, width in zip(line, widths))
            for line in lines]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def delay_lines(tables):
    lines = [["tier", "what", "figures", "p50", "p99", "most"]]
    for tier, table in tables.items():
        for what, values in table["delays"].items():
            ms = [1000 * v for v in values]
            lines.append([tier, what, str(len(ms)), *("%.0f ms" % v for v in (
                percentile(ms, 0.5), percentile(ms, 0.99), max(ms)))])
    return aligned(lines) if len(lines) > 1 else []


def section(title, lines):
    return ["## " + title, "", *lines, ""] if lines else []


def versions():
    sources = (LAB / "common.sh").read_text() + (LAB / "go.mod").read_text()
    kubernetes = sources.split("k8s.io/kubernetes v")[1].split()[0]
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                            capture_output=True, text=True).stdout.strip()
    return "Kubernetes %s, Linux %s, %d cores, Cashew at %s" % (
        kubernetes, os.uname().release, os.cpu_count(), commit or "an unknown commit")


def report(tables, parts):
    rows = [cells(row) for table in tables.values() for row in table["rows"]]
    return "\n".join([
        "# What a run of `./dev e2e` measured", "",
        "%s. %s. Written by the run; [README.md](README.md) says what the columns mean." % (
            datetime.date.today().isoformat(), versions()), "",
        "## Scenarios", "", *aligned([COLUMNS, *rows]), "",
        *section("How fast a change is everywhere", delay_lines(tables)),
        "## How long it took", "",
        *aligned([["part", "s"], *([what, "%.0f" % s] for what, s in parts.seconds)]), ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=["fast", "real"])
    parser.add_argument("--keep", action="store_true")
    options, arguments = parser.parse_known_args()
    parts, tables, failed = Parts(), {}, []
    for tier in [options.tier] if options.tier else ["fast", "real"]:
        try:
            check(tier)
            code, tables[tier] = play(tier, parts, options.keep, arguments)
            if code != 0:
                failed.append(tier)
        except Cannot as why:
            say("%s tier %s: %s" % (tier, "cannot run" if options.tier else "skipped", why))
            if options.tier:
                failed.append(tier)
    text = report(tables, parts)
    if tables:
        print(text, flush=True)
    if tables and not failed and not arguments and not options.tier:
        RESULTS.write_text(text)
        say("written to %s" % RESULTS.relative_to(ROOT))
    if failed or not tables:
        sys.exit("e2e: %s" % ("failed: " + ", ".join(failed) if failed else "nothing could run"))


if __name__ == "__main__":
    main()
