#!/usr/bin/env python3
"""Every header of pkg/ and cmd/ compiles by itself, and may be included twice.

    headers_test.py --compiler g++ --commands build/compile_commands.json [HEADER ...]

A header that its own source file includes before anything else stands alone already, or the
build would have failed; only the others are compiled here. Include folders and definitions are
those of a source file of the same module, as the build compiles it. Exit code 1 and the compiler's words for each header that does
not stand alone. Run by ctest (structure_headers).
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
AT_ONCE = 2  # compilers side by side; a header with gRPC in it takes half a gigabyte

TAKES_VALUE = {"-I", "-isystem", "-D", "-U"}
KEPT = re.compile(r"-(I|isystem|D|U|std=)")
# Means something only together with the optimizer, which does not run here.
DROPPED = re.compile(r"-[DU]_FORTIFY_SOURCE")


def kept_flags(arguments):
    """The include folders, definitions and language version of a compiler call."""
    flags = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in TAKES_VALUE:
            flags += [argument, next(remaining)]
        elif KEPT.match(argument) and not DROPPED.match(argument):
            flags.append(argument)
    return flags


def module_of(path):
    """pkg/net/tls/context.h -> pkg/net"""
    return "/".join(path.parts[:2])


def flags_by_module(commands_file):
    """For each module the flags of its first source file; libraries come before tests."""
    flags = {}
    for entry in json.loads(commands_file.read_text(encoding="utf-8")):
        file = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        if not file.is_relative_to(ROOT):
            continue
        arguments = entry.get("arguments") or shlex.split(entry["command"])
        flags.setdefault(module_of(file.relative_to(ROOT)), kept_flags(arguments))
    return flags


def complaint(compiler, flags, header):
    """What the compiler says against `header` on its own; "" when nothing."""
    text = f'#include "{header}"\n#include "{header}"\n'
    result = subprocess.run(
        [compiler, "-fsyntax-only", "-x", "c++", "-std=c++20", *flags, f"-I{ROOT}", "-"],
        input=text, capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else (result.stderr or f"exit code {result.returncode}")


def is_built_alone(header):
    """Whether foo.cc begins with foo.h, which guards itself against a second time."""
    source = (ROOT / header).with_suffix(".cc")
    if not source.exists():
        return False
    first = re.search(r"^#include .*$", source.read_text(encoding="utf-8"), re.MULTILINE)
    guarded = "#pragma once\n" in (ROOT / header).read_text(encoding="utf-8")
    return guarded and first is not None and first.group() == f'#include "{header}"'


def check_the_check(compiler):
    """A header that leans on what its includer included must not pass."""
    with tempfile.TemporaryDirectory() as folder:
        leaning = pathlib.Path(folder) / "leaning.h"
        leaning.write_text("#pragma once\ninline std::string Name() { return {}; }\n")
        standing = pathlib.Path(folder) / "standing.h"
        standing.write_text("#include <string>\n" + leaning.read_text())
        if not complaint(compiler, [], leaning) or complaint(compiler, [], standing):
            sys.exit("the check itself does not tell a good header from a bad one")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--commands", required=True, type=pathlib.Path)
    parser.add_argument("header", nargs="*", help="relative to the repository root; default: all")
    args = parser.parse_args()

    check_the_check(args.compiler)
    headers = [pathlib.Path(header) for header in args.header] or sorted(
        path.relative_to(ROOT) for top in ("pkg", "cmd") for path in (ROOT / top).rglob("*.h"))
    if not headers:
        sys.exit("no headers found")
    flags = flags_by_module(args.commands)
    built = [] if args.header else [header for header in headers if is_built_alone(header)]
    headers = [header for header in headers if header not in built]
    # A module of headers alone, or one not built here, is given every module's flags.
    every = [flag for module in sorted(flags) for flag in flags[module]]

    def check(header):
        return complaint(args.compiler, flags.get(module_of(header), every), header)

    bad = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for header, words in zip(headers, pool.map(check, headers)):
            if words:
                bad += 1
                print(f"{header} does not compile by itself:\n{words}")
    print(f"{len(headers) - bad} of {len(headers)} headers compile by themselves; "
          f"{len(built)} more come first in a source file of their own")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
