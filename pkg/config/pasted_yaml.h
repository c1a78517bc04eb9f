// What web pages do to a nutcracker.yml: the space after a colon is lost, the keys are no
// longer indented under their pool, tabs stand for spaces, a value that YAML reads as
// something else has no quotes.
//
// YAML's own complaints about such files name the wrong line for the wrong reason, so
// the text is searched for these mistakes before they are passed on.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cashew::config {

struct PastedProblem {
  int line = 0;  // 1-based
  std::string pool;
  std::string key;
  std::string text;
};

struct PastedYaml {
  std::vector<PastedProblem> problems;
  // The text with these mistakes put right, line by line, so that what else is wrong with
  // the file can be told at the same time.
  std::string repaired;
};

// `keys` are the names that may stand inside a pool. Call only for a text that is known to be
// wrong: a right one may look like these mistakes.
PastedYaml RepairPastedYaml(std::string_view text, std::span<const std::string_view> keys);

}  // namespace cashew::config
