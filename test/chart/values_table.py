#!/usr/bin/python3
"""The table of values in the chart's README, made from the comments in values.yaml.

A comment that begins with "# -- " describes the key below it; it may go on for more lines.
Keys below a described one are part of its default, unless they are described themselves.

    values_table.py            prints the table
    values_table.py --write    puts it in helm/cashew/README.md, between its two marks
    values_table.py --check    exits 1 when the README has another one
"""

import json
import os
import sys

import yaml

CHART = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "helm", "cashew")
BEGIN = "<!-- values: made by test/chart/values_table.py --write -->"
END = "<!-- values: end -->"


def description(lines, key_line):
    """The comment right above a line, or None when it describes nothing."""
    words = []
    for line in reversed(lines[:key_line]):
        text = line.strip()
        if not text.startswith("#"):
            return None
        words.insert(0, text.lstrip("# ").strip())
        if text.startswith("# -- "):
            words[0] = text[len("# -- "):]
            return " ".join(words)
    return None


def rows(node, lines, path=()):
    """(dotted key, default, description) of each described key, in the file's order."""
    for key_node, value_node in node.value:
        key = path + (key_node.value,)
        text = description(lines, key_node.start_mark.line)
        below = list(rows(value_node, lines, key)) if isinstance(value_node, yaml.MappingNode) else []
        if text:
            default = yaml.safe_load(yaml.serialize(value_node))
            if below:  # each of them has a row with its own default
                default = None
            yield ".".join(key), default, text, bool(below)
        yield from below


def shown(default):
    return "`%s`" % json.dumps(default, ensure_ascii=False).replace("|", "\\|")


def table():
    with open(os.path.join(CHART, "values.yaml"), encoding="utf-8") as file:
        text = file.read()
    out = ["| value | default | what it is |", "| --- | --- | --- |"]
    for key, default, what, split in rows(yaml.compose(text), text.splitlines()):
        out.append("| `%s` | %s | %s |" % (key, "" if split else shown(default), what.replace("|", "\\|")))
    return "\n".join(out)


def readme_with(new_table):
    with open(os.path.join(CHART, "README.md"), encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    return text, before + BEGIN + "\n" + new_table + "\n" + END + rest.split(END)[1]


def main():
    what = sys.argv[1:]
    if not what:
        print(table())
        return 0
    old, new = readme_with(table())
    if what == ["--check"]:
        if old != new:
            print("helm/cashew/README.md's table is stale; run test/chart/values_table.py --write")
        return int(old != new)
    if what == ["--write"]:
        with open(os.path.join(CHART, "README.md"), "w", encoding="utf-8") as file:
            file.write(new)
        return 0
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
