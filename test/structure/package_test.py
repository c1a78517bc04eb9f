#!/usr/bin/env python3
"""cmd/debian against the rest of the tree: version, what is needed to build. Run it alone or by
ctest (structure_package)."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What ./dev installs besides: for tests, for a developer, or in every Debian that builds packages.
NOT_FOR_A_PACKAGE = {"g++", "ccache", "git", "ca-certificates", "libgtest-dev", "libgmock-dev",
                     "libbenchmark-dev"}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


class Package(unittest.TestCase):
    def test_the_changelog_begins_with_the_version_of_cmake(self):
        version = re.search(r"project\(cashew VERSION ([0-9.]+)", read("CMakeLists.txt")).group(1)
        self.assertTrue(read("cmd/debian/changelog").startswith("cashew (%s) " % version))

    def test_it_builds_with_what_the_developers_entry_installs(self):
        known = set(re.search(r'build_packages="(.*?)"', read("dev"), re.S).group(1).split())
        listed = re.search(r"^Build-Depends:\n((?: .*\n)+)", read("cmd/debian/control"), re.M).group(1)
        needed = {line.strip().rstrip(",") for line in listed.splitlines()}
        needed.remove("debhelper-compat (= 13)")
        self.assertEqual(needed, known - NOT_FOR_A_PACKAGE)

    def test_the_socket_unit_opens_the_port_of_the_example(self):
        opened = re.findall(r"^ListenStream=(.*)", read("cmd/cashew/cashew.socket"), re.M)
        listens = re.findall(r"^  listen: (.*)", read("cmd/cashew/cashew.yml"), re.M)
        self.assertEqual(opened, listens)


if __name__ == "__main__":
    unittest.main()
