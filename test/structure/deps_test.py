#!/usr/bin/env python3
"""Who may use whom: the #include lines of pkg/ and cmd/ against the tables below.

Includes start at the repository root, so the compiler would accept any edge; this
is what keeps the arrows of ARCHITECTURE.md true. Run it alone or by ctest
(structure_deps). A new folder or a new edge is a decision: it is made here, in the
tables, in the same commit.
"""

import pathlib
import re
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Module -> the modules it may include besides itself. `proto` is the generated code
# of proto/. Every folder of pkg/ and cmd/ has a row; a row may wait for its folder.
MAY_USE = {
    "pkg/base": [],
    "pkg/hash": ["pkg/base"],
    "pkg/ring": ["pkg/base", "pkg/hash"],
    "pkg/config": ["pkg/base", "pkg/hash", "pkg/ring"],
    "pkg/metrics": ["pkg/base"],
    "pkg/net": ["pkg/base"],  # knows no protocol
    "pkg/protocol": ["pkg/base", "pkg/hash"],  # knows no socket
    "pkg/pool": ["pkg/base", "pkg/hash", "pkg/ring"],
    "pkg/proxy": ["pkg/base", "pkg/hash", "pkg/ring", "pkg/pool", "pkg/protocol", "pkg/net",
                  "pkg/metrics"],
    "pkg/health": ["pkg/base", "pkg/net", "pkg/protocol", "pkg/pool", "pkg/metrics"],
    "pkg/admin": ["pkg/base", "pkg/metrics"],
    "pkg/dns": ["pkg/base"],
    "pkg/state": ["pkg/base", "pkg/pool"],
    "pkg/rpc": ["pkg/base", "pkg/pool", "proto"],
    "pkg/k8s": ["pkg/base", "proto"],
    # Builds and runs all of it. Not k8s: that is the sidecar's alone.
    "pkg/app": ["pkg/base", "pkg/hash", "pkg/ring", "pkg/config", "pkg/metrics", "pkg/net",
                "pkg/protocol", "pkg/pool", "pkg/proxy", "pkg/health", "pkg/admin", "pkg/rpc",
                "pkg/dns", "pkg/state"],
    "cmd/cashew": ["pkg/base", "pkg/app", "pkg/config", "pkg/metrics"],
    "cmd/cashewctl": ["pkg/base", "pkg/config", "pkg/pool", "pkg/ring", "pkg/hash", "proto"],
    "cmd/cashew-sidecar": ["pkg/base", "pkg/k8s", "pkg/admin", "proto"],
    "cmd/debian": [],  # packaging; no code
}

# What a test, benchmark or fuzz target beside the code may include on top of that.
TESTS_MAY_ALSO_USE = ["pkg/base", "test/support"]
TEST_FILE = re.compile(r"_(test|bench|fuzz)\.cc$")

# Headers of a library -> the only folders that may see them. A library that several
# modules share freely (fmt, absl, nlohmann) has no row.
ONLY_IN = {
    "yaml-cpp/": ["pkg/config", "pkg/k8s"],
    "prometheus/": ["pkg/metrics", "pkg/k8s"],
    "microhttpd.h": ["pkg/admin"],
    "grpc/": ["pkg/rpc", "pkg/k8s", "cmd/cashewctl"],
    "grpcpp/": ["pkg/rpc", "pkg/k8s", "cmd/cashewctl"],
    "google/protobuf/": ["pkg/rpc", "pkg/k8s", "cmd/cashewctl"],
    "openssl/": ["pkg/net/tls", "pkg/hash", "pkg/state", "pkg/rpc"],
    "ares.h": ["pkg/dns", "pkg/k8s"],
    "curl/": ["pkg/k8s"],
}

SOURCE_SUFFIXES = {".h", ".cc", ".in"}  # .in: headers that the build fills in
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def inside(path, folder):
    """Whether `path` is `folder` or below it, both with forward slashes."""
    return path == folder or path.startswith(folder + "/")


def module_of(path):
    """pkg/net/tls/context.h -> pkg/net; None for what no module owns."""
    if path.startswith("proto/") or path.endswith(".pb.h"):
        return "proto"
    parts = path.split("/")
    if parts[0] in ("pkg", "cmd", "test") and len(parts) > 2:
        return "/".join(parts[:2])
    return None


def include_problem(file, included, root):
    """Why `file` may not include `included`, or None. Both are relative to `root`."""
    for library, folders in ONLY_IN.items():
        if included.startswith(library):
            if any(inside(file, folder) for folder in folders):
                return None
            return f"{library} headers are for {', '.join(folders)} alone"
    target = module_of(included)
    if target is None:
        if included.startswith("../") or ((root / file).parent / included).is_file():
            return "includes start at the repository root"
        return None  # the system's or a shared library's
    user = module_of(file)
    allowed = MAY_USE.get(user, []) + [user]
    if TEST_FILE.search(file):
        allowed = allowed + TESTS_MAY_ALSO_USE
    if target in allowed:
        return None
    return f"{user} may not use {target}"


def source_files(root):
    for top in ("pkg", "cmd"):
        for path in sorted((root / top).rglob("*")):
            if path.is_file() and path.suffix in SOURCE_SUFFIXES:
                yield path


def problems(root):
    """Every violation below `root` as a line that names file and line."""
    found = []
    for top in ("pkg", "cmd"):
        for folder in sorted((root / top).glob("*/")):
            name = f"{top}/{folder.name}"
            if folder.is_dir() and folder.name != "__pycache__" and name not in MAY_USE:
                found.append(f"{name}: a folder without a row in MAY_USE")
    for path in source_files(root):
        file = path.relative_to(root).as_posix()
        if module_of(file) is None:
            found.append(f"{file}: a source file outside any module")
            continue
        text = path.read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            problem = include_problem(file, match.group(1), root)
            if problem:
                line = text.count("\n", 0, match.start(1)) + 1
                found.append(f'{file}:{line}: includes "{match.group(1)}": {problem}')
    return found


class TreeTest(unittest.TestCase):
    def test_every_include_of_the_tree_is_allowed(self):
        self.assertEqual(problems(ROOT), [])

    def test_the_tree_was_really_read(self):
        files = {path.relative_to(ROOT).as_posix() for path in source_files(ROOT)}
        self.assertIn("pkg/ring/ring.h", files)
        includes = INCLUDE.findall((ROOT / "pkg/ring/ring.cc").read_text(encoding="utf-8"))
        self.assertIn("pkg/ring/ring.h", includes)
        self.assertIn("pkg/hash/hash.h", includes)


class TableTest(unittest.TestCase):
    def test_rows_name_only_modules_that_have_rows(self):
        for user, used in MAY_USE.items():
            for module in used:
                self.assertTrue(module in MAY_USE or module == "proto", f"{user} -> {module}")
                self.assertFalse(module.startswith("cmd/"), f"{user}: cmd is used by nobody")

    def test_arrows_run_one_way(self):
        def walk(module, path):
            self.assertNotIn(module, path, "a cycle")
            for used in MAY_USE.get(module, []):
                walk(used, path + [module])

        for module in MAY_USE:
            walk(module, [])


class CheckerTest(unittest.TestCase):
    """That the check bites, on made-up trees."""

    def problems_of(self, **files):
        """File names have __ for / and end in _h or _cc."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                path = root / re.sub(r"_(h|cc)$", r".\1", name.replace("__", "/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return problems(root)

    def assert_caught(self, text, **files):
        found = self.problems_of(**files)
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0])

    def test_allowed_edges_pass(self):
        self.assertEqual(
            self.problems_of(
                pkg__ring__ring_h='#include <vector>\n#include "pkg/hash/hash.h"\n',
                pkg__ring__ring_test_cc='#include "test/support/x.h"\n#include "pkg/ring/ring.h"\n',
                pkg__net__tls__context_cc='#include <openssl/ssl.h>\n#include "pkg/net/socket.h"\n',
                cmd__cashew__main_cc='#include "cmd/cashew/flags.h"\n#include "pkg/app/app.h"\n',
                pkg__rpc__service_cc='#include <grpcpp/grpcpp.h>\n#include "proto/a/v1/a.pb.h"\n',
            ),
            [],
        )

    def test_forbidden_edge_is_caught_with_file_and_line(self):
        self.assert_caught(
            'pkg/net/socket.h:3: includes "pkg/protocol/codec.h": pkg/net may not use pkg/protocol',
            pkg__net__socket_h='#pragma once\n\n#include "pkg/protocol/codec.h"\n',
        )

    def test_reverse_edge_is_caught_in_any_spelling(self):
        for line in ('#include "pkg/net/socket.h"', "#include <pkg/net/socket.h>",
                     '  #  include  "pkg/net/socket.h"  // why'):
            self.assert_caught("pkg/protocol may not use pkg/net",
                               pkg__protocol__redis__parser_cc=line)

    def test_nobody_includes_test_or_cmd(self):
        self.assert_caught("may not use test/support",
                           pkg__pool__pool_cc='#include "test/support/fake.h"\n')
        self.assert_caught("may not use cmd/cashew",
                           pkg__app__app_cc='#include "cmd/cashew/flags.h"\n')
        self.assert_caught("may not use cmd/cashew",
                           cmd__cashewctl__main_cc='#include "cmd/cashew/flags.h"\n')

    def test_a_test_file_gets_no_other_edge(self):
        self.assert_caught("pkg/net may not use pkg/proxy",
                           pkg__net__loop_test_cc='#include "pkg/proxy/worker.h"\n')

    def test_library_headers_outside_their_folder_are_caught(self):
        for header, file in (("yaml-cpp/yaml.h", "pkg__app__app_cc"),
                             ("prometheus/registry.h", "pkg__admin__admin_cc"),
                             ("microhttpd.h", "pkg__app__app_h"),
                             ("grpcpp/server.h", "pkg__app__app_cc"),
                             ("google/protobuf/message.h", "pkg__pool__pool_h"),
                             ("openssl/ssl.h", "pkg__net__socket_cc")):
            self.assert_caught("alone", **{file: f"#include <{header}>\n"})

    def test_generated_protobuf_code_counts_as_proto(self):
        self.assert_caught("pkg/pool may not use proto",
                           pkg__pool__pool_cc='#include "membership.pb.h"\n')

    def test_unknown_folder_is_caught_even_when_empty_of_includes(self):
        self.assert_caught("pkg/misc: a folder without a row", pkg__misc__misc_h="#pragma once\n")
        self.assert_caught("cmd/tool: a folder without a row", cmd__tool__main_cc="int x;\n")

    def test_relative_include_is_caught(self):
        self.assert_caught("start at the repository root",
                           pkg__ring__ring_cc='#include "ketama.h"\n', pkg__ring__ketama_h="")
        self.assert_caught("start at the repository root",
                           pkg__ring__ring_cc='#include "../net/socket.h"\n')


if __name__ == "__main__":
    unittest.main()
