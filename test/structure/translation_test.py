#!/usr/bin/env python3
"""The Chinese README against the English one: what it tells to type is what README.md tells, and
the files it names are there. Run it alone or by ctest (structure_translation)."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^ *```(sh|console)\n(.*?)^ *```$", re.M | re.S)


def commands(markdown):
    """What the code blocks tell to type: no prompts, no output, no comments, no line ends."""
    found = []
    for language, text in BLOCK.findall(markdown):
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            line = line.strip()
            if language == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            line = re.sub(r"(^|\s+)#.*", "", line)
            if line:
                found.append(" ".join(line.split()))
    return found


class Translation(unittest.TestCase):
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    chinese = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")

    def test_every_command_is_one_of_the_english_readme(self):
        told = commands(self.chinese)
        self.assertGreater(len(told), 15)
        self.assertEqual([], [line for line in told if line not in commands(self.english)])

    def test_every_code_block_is_one_that_is_compared(self):
        fences = re.findall(r"^ *```", self.chinese, re.M)
        self.assertEqual(len(fences), 2 * len(BLOCK.findall(self.chinese)))

    def test_the_two_link_to_each_other_and_to_files_that_exist(self):
        self.assertIn("](README.zh-CN.md)", self.english)
        self.assertIn("](README.md)", self.chinese)
        for target in re.findall(r"\]\(([^)#]+)\)", self.chinese):
            if "://" not in target:
                self.assertTrue((ROOT / target).exists(), target)

    def test_prompts_comments_output_and_continued_lines_are_told_apart(self):
        sample = "```console\n$ a  b   # why\nprinted\n```\n```sh\nc \\\n  d\n# said\n```\n"
        self.assertEqual(["a b", "c d"], commands(sample))


if __name__ == "__main__":
    unittest.main()
