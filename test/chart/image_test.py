"""What the Dockerfile promises, as far as it can be read; ./dev image --test builds and runs it."""

import os
import re

from charts import ROOT

with open(os.path.join(ROOT, "cmd", "cashew", "Dockerfile"), encoding="utf-8") as file:
    # Lines that go on are one instruction; comments are none.
    INSTRUCTIONS = [line.split(None, 1) for line in re.sub(
        r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", file.read())).splitlines() if line.strip()]


def arguments(instruction):
    return [rest for word, rest in INSTRUCTIONS if word == instruction]


def packages(text):
    return set(re.search(r"apt-get [^&]* install (.*?)(&&|$)", " ".join(text.split())).group(1).split())


def test_every_stage_starts_from_debian_or_a_stage():
    assert arguments("ARG")[0] == "BASE=debian:bookworm-slim"
    assert arguments("FROM") == ["${BASE} AS packages", "packages AS build", "${BASE}"]


def test_the_user_is_a_number_other_than_root():
    user = arguments("USER")
    assert user == ["65532:65532"] and INSTRUCTIONS[-4][0] == "USER"


def test_there_is_no_healthcheck_and_no_shell_in_what_starts():
    assert not arguments("HEALTHCHECK")
    assert arguments("ENTRYPOINT") == ['["cashew"]']
    assert arguments("CMD") == ['["--conf-file=/etc/cashew/nutcracker.yml"]']


def test_labels_name_the_projects_version():
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as cmake:
        version = re.search(r"project\(cashew VERSION ([0-9.]+)", cmake.read()).group(1)
    assert "VERSION=" + version in arguments("ARG")
    (labels,) = arguments("LABEL")
    assert 'org.opencontainers.image.version="${VERSION}"' in labels
    assert 'org.opencontainers.image.licenses="Apache-2.0"' in labels


def test_it_builds_with_packages_that_the_developers_entry_knows():
    with open(os.path.join(ROOT, "dev"), encoding="utf-8") as dev:
        known = set(re.search(r'build_packages="(.*?)"', dev.read(), re.S).group(1).split())
    build = next(rest for rest in arguments("RUN") if "ninja-build" in rest)
    assert packages(build) <= known, "missing from ./dev: %s" % sorted(packages(build) - known)
    tests_only = {"ccache", "git", "ca-certificates", "libgtest-dev", "libgmock-dev",
                  "libbenchmark-dev"}
    assert known <= packages(build) | tests_only, \
        "missing from the Dockerfile: %s" % sorted(known - packages(build) - tests_only)


def test_the_build_context_holds_what_cmake_reads():
    with open(os.path.join(ROOT, ".dockerignore"), encoding="utf-8") as ignore:
        kept = {line[1:] for line in ignore.read().splitlines() if line.startswith("!")}
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as cmake:
        text = cmake.read()
    for folder in {path.split("/")[0] for path in re.findall(r"add_subdirectory\(([\w/-]+)", text)}:
        assert folder in kept or folder + "/CMakeLists.txt" in kept, folder
    assert {"CMakeLists.txt", "pkg", "cmd"} <= kept
