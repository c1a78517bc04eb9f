#include "pkg/k8s/pool_spec.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>
#include <utility>

#include "fmt/format.h"
#include "yaml-cpp/yaml.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

constexpr size_t kMaxDnsLabel = 63;
constexpr size_t kMaxDnsName = 253;

// Thrown and caught in this file only.
struct Refused {
  std::string text;
};

bool IsLabelChar(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '-'; }

bool IsLabel(std::string_view text) {
  return !text.empty() && text.size() <= kMaxDnsLabel &&
         std::all_of(text.begin(), text.end(), IsLabelChar) && text.front() != '-' &&
         text.back() != '-';
}

bool IsDnsName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxDnsName &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return IsLabelChar(c) || c == '.' || c == '_'; });
}

bool IsNumber(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; });
}

void CheckPort(const std::string& port) {
  if (port.empty()) return;
  const bool right = IsNumber(port)
                         ? port.size() <= 5 && std::stoi(port) >= 1 && std::stoi(port) <= 65535
                         : IsLabel(port);
  if (!right) {
    throw Refused{
        fmt::format("\"{}\" is neither a port's name nor its number", base::Escape(port, 80))};
  }
}

void SetService(PoolSpec* spec, std::string text) {
  if (const size_t slash = text.find('/'); slash != std::string::npos) {
    spec->name_space = text.substr(0, slash);
    text.erase(0, slash + 1);
    if (!IsLabel(spec->name_space)) {
      throw Refused{fmt::format("\"{}\" is no namespace", base::Escape(spec->name_space, 80))};
    }
  }
  if (!IsLabel(text)) {
    throw Refused{fmt::format("\"{}\" is no Service's name", base::Escape(text, 80))};
  }
  spec->service = std::move(text);
}

void SetDnsName(PoolSpec* spec, std::string text) {
  if (!IsDnsName(text)) {
    throw Refused{fmt::format("\"{}\" is no DNS name", base::Escape(text, 80))};
  }
  spec->dns_name = std::move(text);
}

using SetTarget = void (*)(PoolSpec*, std::string);

absl::StatusOr<PoolSpec> ParseFlag(const std::string& text, const char* flag, const char* form,
                                   SetTarget set_target) {
  const auto refused = [&](const std::string& why) {
    return absl::InvalidArgumentError(
        fmt::format("{} \"{}\": {}; the form is {}", flag, base::Escape(text, 200), why, form));
  };
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return refused("there is no \"=\"");
  PoolSpec spec;
  spec.pool = text.substr(0, equals);
  if (spec.pool.empty()) return refused("the pool has no name");
  std::string target = text.substr(equals + 1);
  if (const size_t colon = target.rfind(':'); colon != std::string::npos) {
    spec.port = target.substr(colon + 1);
    target.resize(colon);
    if (spec.port.empty()) return refused("nothing follows the \":\"");
  }
  try {
    CheckPort(spec.port);
    set_target(&spec, std::move(target));
  } catch (const Refused& e) {
    return refused(e.text);
  }
  return spec;
}

[[noreturn]] void FailAt(const YAML::Node& node, const std::string& why) {
  throw Refused{fmt::format("line {}: {}", node.Mark().line + 1, why)};
}

std::string Scalar(const YAML::Node& node, const std::string& key) {
  if (!node.IsScalar()) FailAt(node, fmt::format("{} is no text", key));
  return node.Scalar();
}

bool Flag(const YAML::Node& node, const std::string& key) {
  const std::string text = Scalar(node, key);
  if (text != "true" && text != "false") {
    FailAt(node, fmt::format("{} is \"{}\", not true or false", key, base::Escape(text, 40)));
  }
  return text == "true";
}

PoolSpec ReadPool(const std::string& name, const YAML::Node& map) {
  if (!map.IsMap()) FailAt(map, fmt::format("pool \"{}\" is no map", base::Escape(name, 80)));
  PoolSpec spec;
  spec.pool = name;
  for (const auto& entry : map) {
    const std::string key = entry.first.Scalar();
    try {
      if (key == "service") {
        SetService(&spec, Scalar(entry.second, key));
      } else if (key == "dns") {
        SetDnsName(&spec, Scalar(entry.second, key));
      } else if (key == "port") {
        spec.port = Scalar(entry.second, key);
        CheckPort(spec.port);
      } else if (key == "allow_empty") {
        spec.allow_empty = Flag(entry.second, key);
      } else {
        throw Refused{
            fmt::format("unknown key \"{}\"; a pool has service or dns, port and "
                        "allow_empty",
                        base::Escape(key, 80))};
      }
    } catch (const Refused& e) {
      if (e.text.rfind("line ", 0) == 0) throw;
      FailAt(entry.first, e.text);
    }
  }
  if (spec.service.empty() == spec.dns_name.empty()) {
    FailAt(map, fmt::format("pool \"{}\" needs either service or dns", base::Escape(name, 80)));
  }
  return spec;
}

SidecarFile ReadFile(const std::string& path) {
  const YAML::Node root = YAML::LoadFile(path);
  if (!root.IsMap()) throw Refused{"the file needs a map with the key pools"};
  SidecarFile file;
  for (const auto& entry : root) {
    const std::string key = entry.first.Scalar();
    if (key == "grpc") {
      file.grpc = Scalar(entry.second, key);
    } else if (key == "pools") {
      if (!entry.second.IsMap()) FailAt(entry.second, "pools is no map of pools");
      for (const auto& pool : entry.second) {
        file.pools.push_back(ReadPool(pool.first.Scalar(), pool.second));
      }
    } else {
      FailAt(entry.first,
             fmt::format("unknown key \"{}\"; there are grpc and pools", base::Escape(key, 80)));
    }
  }
  return file;
}

}  // namespace

absl::StatusOr<PoolSpec> ParsePoolFlag(const std::string& text) {
  return ParseFlag(text, "--pool", "POOL=[NAMESPACE/]SERVICE[:PORT]", &SetService);
}

absl::StatusOr<PoolSpec> ParseDnsFlag(const std::string& text) {
  return ParseFlag(text, "--dns", "POOL=NAME[:PORT]", &SetDnsName);
}

absl::StatusOr<SidecarFile> LoadSidecarFile(const std::string& path) {
  const auto refused = [&](const std::string& why) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", path, why));
  };
  try {
    return ReadFile(path);
  } catch (const Refused& e) {
    return refused(e.text);
  } catch (const YAML::BadFile&) {
    return refused("cannot read the file");
  } catch (const std::exception& e) {
    return refused(base::Escape(e.what(), 200));
  }
}

absl::Status CheckPools(const std::vector<PoolSpec>& pools) {
  if (pools.empty()) {
    return absl::InvalidArgumentError(
        "no pool to follow: give --pool POOL=[NAMESPACE/]SERVICE[:PORT], --dns or --config");
  }
  std::set<std::string> names;
  for (const PoolSpec& spec : pools) {
    if (!names.insert(spec.pool).second) {
      return absl::InvalidArgumentError(
          fmt::format("pool \"{}\" is given twice", base::Escape(spec.pool, 80)));
    }
  }
  return absl::OkStatus();
}

}  // namespace cashew::k8s
