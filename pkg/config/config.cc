#include "pkg/config/config.h"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "pkg/base/log.h"
#include "pkg/config/global_section.h"
#include "pkg/config/pasted_yaml.h"
#include "pkg/config/pool_section.h"
#include "pkg/config/section.h"
#include "pkg/config/values.h"
#include "pkg/config/yaml_tree.h"
#include "pkg/ring/server.h"

namespace cashew::config {

namespace {

constexpr std::string_view kGlobal = "global";

bool Contains(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The keys that RepairPastedYaml should know.
std::vector<std::string_view> AllKeys() {
  std::vector<std::string_view> keys = PoolKeys();
  for (const std::string_view key : GlobalKeys()) keys.push_back(key);
  return keys;
}

// `listen:127.0.0.1:22121`, one word to YAML, where a key and its value were meant. The key, or
// nothing. A pool may well be named `redis:6379`, but then it has keys.
std::optional<std::string_view> KeyWithoutSpace(const YamlNode::Entry& entry,
                                                const std::vector<std::string_view>& keys) {
  const std::string_view text = entry.key->text;
  const std::string_view key = text.substr(0, text.find(':'));
  if (key.size() == text.size() || entry.value->is_map() || !Contains(keys, key)) {
    return std::nullopt;
  }
  return key;
}

// Valid YAML, but with the marks of a text that lost its spaces.
bool LooksPasted(const YamlNode& root, const std::vector<std::string_view>& keys) {
  if (root.is_scalar()) return true;
  return std::any_of(root.entries.begin(), root.entries.end(), [&](const YamlNode::Entry& entry) {
    const bool key_as_pool = entry.key->is_scalar() && Contains(keys, entry.key->text);
    return entry.value->is_scalar() || (key_as_pool && !entry.value->is_map()) ||
           KeyWithoutSpace(entry, keys).has_value();
  });
}

// A file's top level: `global` and pools.
class FileReader {
 public:
  FileReader(Report* report, Config* config, const std::vector<std::string_view>& keys)
      : report_(*report), config_(*config), keys_(keys) {}

  void Read(const YamlNode& root) {
    if (!CheckShape(root)) return;
    std::map<std::string_view, int> first_lines;
    for (const YamlNode::Entry& entry : root.entries) {
      const auto& [key, value] = entry;
      if (const std::optional<std::string_view> word = KeyWithoutSpace(entry, keys_)) {
        report_.Error(key->line, "", std::string(*word),
                      fmt::format("no space after the colon; write `{}: ...`", *word));
        continue;
      }
      if (!key->is_scalar() || key->text.empty()) {
        report_.Error(key->line, "", "", "a pool's name is missing here; write `alpha:`");
        continue;
      }
      const auto [first, is_new] = first_lines.emplace(key->text, key->line);
      if (!is_new) {
        report_.Error(key->line, key->text, "", ExplainDuplicate(first->second));
        continue;
      }
      ReadEntry(*key, *value);
    }
    CheckPools(root);
  }

 private:
  static constexpr std::string_view kExample =
      "write `alpha:` and, each on a line of its own below it and indented by two spaces, "
      "`listen: 127.0.0.1:22121`, `servers:` and `- 127.0.0.1:11211:1`";

  bool CheckShape(const YamlNode& root) {
    if (root.is_map() && !root.entries.empty()) return true;
    const std::string_view found = root.is_missing()    ? "the file is empty"
                                   : root.is_map()      ? "the file has an empty mapping"
                                   : root.is_sequence() ? "the file is a list, not pools"
                                                        : "the file is one value, not pools";
    report_.Error(root.line, "", "", fmt::format("{}; {}", found, kExample));
    return false;
  }

  void ReadEntry(const YamlNode& key, const YamlNode& value) {
    if (key.text == kGlobal && !IsPoolNamedGlobal(value)) {
      if (CheckMap(key, value, "")) config_.global = ReadGlobal(&report_, key.line, value);
      return;
    }
    if (key.text == kGlobal) {
      report_.Warn(key.line, key.text, "",
                   "has listen or servers and so is a pool of that name; rename the pool, since "
                   "`global` is the section of process-wide keys");
    }
    if (!IsPrintable(key.text)) {
      report_.Error(key.line, key.text, "",
                    "the pool's name has a control character; use letters, digits, '-' and '_'");
    }
    if (CheckMap(key, value, key.text)) {
      config_.pools.push_back(ReadPool(&report_, key.text, key.line, value));
    }
  }

  static bool IsPoolNamedGlobal(const YamlNode& value) {
    return value.Find("listen") != nullptr || value.Find("servers") != nullptr;
  }

  static bool IsPrintable(std::string_view name) {
    return std::none_of(name.begin(), name.end(), [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return byte < 0x20 || byte == 0x7f;
    });
  }

  bool CheckMap(const YamlNode& key, const YamlNode& value, const std::string& pool) {
    if (value.is_map() && !value.entries.empty()) return true;
    const std::string_view found = value.is_sequence() ? "has a list instead of keys"
                                   : value.is_scalar() ? "has one value instead of keys"
                                                       : "has no keys";
    report_.Error(
        key.line, pool, pool.empty() ? key.text : "",
        fmt::format("{}; write them below it, each indented by two spaces, such as `{}`", found,
                    pool.empty() ? "  workers: auto" : "  listen: 127.0.0.1:22121"));
    return false;
  }

  void CheckPools(const YamlNode& root) {
    if (config_.pools.empty() && report_.error_count() == 0) {
      report_.Error(root.line, "", "", fmt::format("the file has no pool; {}", kExample));
    }
    CheckListeners();
    WarnUnreachableMembership();
    std::stable_sort(config_.pools.begin(), config_.pools.end(),
                     [](const Pool& a, const Pool& b) { return ring::NameLess(a.name, b.name); });
  }

  void CheckListeners() {
    std::map<std::pair<std::string, int>, const Pool*> taken;
    for (const Pool& pool : config_.pools) {
      const Address& listen = pool.listen;
      if (listen.text.empty()) continue;  // missing or wrong: already told
      const std::string& place = listen.is_unix() ? listen.unix_path : listen.host;
      const auto [first, is_new] = taken.emplace(std::pair(place, int{listen.port}), &pool);
      if (is_new) continue;
      report_.Error(listen.line, pool.name, "listen",
                    fmt::format("{} is taken by pool {}, on line {}; give each pool its own",
                                Quoted(listen.text), Quoted(first->second->name),
                                first->second->listen.line));
    }
  }

  void WarnUnreachableMembership() {
    if (config_.global.grpc != "off") return;
    for (const Pool& pool : config_.pools) {
      if (pool.membership != Membership::kGrpc) continue;
      report_.Warn(pool.line, pool.name, "membership",
                   "is grpc while global.grpc is off, so that nobody can set its servers");
    }
  }

  Report& report_;
  Config& config_;
  const std::vector<std::string_view>& keys_;  // of every section
};

// The faults of a text that lost spaces, indentation or quotes, and whatever else is wrong once
// those are put right. Returns false when it shows no such fault.
bool ReadPasted(std::string_view text, const std::vector<std::string_view>& keys, Report* report,
                Config* config) {
  PastedYaml pasted = RepairPastedYaml(text, keys);
  if (pasted.problems.empty()) return false;
  for (PastedProblem& problem : pasted.problems) {
    report->Error(problem.line, std::move(problem.pool), std::move(problem.key),
                  std::move(problem.text));
  }
  // Its own complaints about text that nobody wrote would only confuse.
  YamlDocument document;
  YamlError ignored;
  if (ParseYaml(pasted.repaired, &document, &ignored) && !LooksPasted(document.root(), keys)) {
    FileReader(report, config, keys).Read(document.root());
  }
  return true;
}

void ReadText(std::string_view text, Report* report, Config* config) {
  const std::vector<std::string_view> keys = AllKeys();
  YamlDocument document;
  YamlError error;
  const bool parsed = ParseYaml(text, &document, &error);
  if (!parsed || LooksPasted(document.root(), keys)) {
    if (ReadPasted(text, keys, report, config)) return;
  }
  if (!parsed) {
    report->Error(error.line, "", "", std::move(error.text));
    return;
  }
  FileReader(report, config, keys).Read(document.root());
}

LoadResult Failed(const std::string& file, std::string text) {
  LoadResult result;
  result.errors.push_back({file, 0, "", "", std::move(text)});
  return result;
}

std::string TooLarge() {
  return fmt::format("is larger than {} MiB; that is no configuration", kMaxFileBytes >> 20);
}

std::string ErrorText(int error) { return std::generic_category().message(error); }

// 0, or the errno. Stops one byte beyond the limit.
int ReadAll(int fd, std::string* text) {
  char buffer[65536];
  while (text->size() <= kMaxFileBytes) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count == 0) return 0;
    if (count > 0) {
      text->append(buffer, static_cast<size_t>(count));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

std::string Problem::ToString() const {
  std::string out = line > 0 ? fmt::format("{}:{}: ", file, line) : fmt::format("{}: ", file);
  if (!pool.empty()) out += fmt::format("pool {}: ", Quoted(pool));
  if (!key.empty()) out += fmt::format("{}: ", key);
  return out + text;
}

LoadResult LoadText(std::string_view yaml, const std::string& file_name_for_messages) {
  if (yaml.size() > kMaxFileBytes) return Failed(file_name_for_messages, TooLarge());
  try {
    LoadResult result;
    Report report(file_name_for_messages, &result);
    ReadText(yaml, &report, &result.config);
    report.Finish();
    return result;
  } catch (const std::exception& fault) {  // out of memory; nothing else is expected
    return Failed(file_name_for_messages,
                  fmt::format("cannot be read: {}", base::Escape(fault.what(), 120)));
  }
}

LoadResult LoadFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failed(path, fmt::format("cannot be opened: {}", ErrorText(errno)));
  std::string text;
  const int error = ReadAll(fd, &text);
  ::close(fd);
  if (error != 0) return Failed(path, fmt::format("cannot be read: {}", ErrorText(error)));
  return LoadText(text, path);
}

}  // namespace cashew::config
