#include "cmd/cashewctl/server_list.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <set>
#include <utility>

#include "fmt/format.h"

#include "cmd/cashewctl/json.h"
#include "pkg/config/values.h"
#include "pkg/config/yaml_tree.h"

namespace cashew::ctl {
namespace {

using config::Quoted;
using config::YamlNode;
using membership::v1::ServerState;

constexpr std::string_view kForm = "write NAME=HOST:PORT[:WEIGHT], such as cache-0=10.0.0.1:11211";
constexpr size_t kMaxName = 255;

template <typename... Args>
absl::Status Fault(fmt::format_string<Args...> format, Args&&... args) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Args>(args)...));
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

absl::StatusOr<uint32_t> ParseWeight(std::string_view text) {
  const auto weight = config::ParseNumber(text, config::NumberRange{.min = 1});
  if (!weight.ok()) return Fault("weight {}", Message(weight.status()));
  return static_cast<uint32_t>(*weight);
}

absl::Status SetAddress(std::string_view text, Server* server) {
  const auto address = config::ParseHostPort(text, 1);
  if (!address.ok()) return Fault("address {}", Message(address.status()));
  const bool bracketed = text.substr(0, 1) == "[";
  if (!bracketed && address->host.find(':') != std::string::npos) {
    return Fault("address {}: an IPv6 host goes in brackets, such as [fd00::1]:11211",
                 Quoted(text));
  }
  server->set_address(std::string(text));
  return absl::OkStatus();
}

absl::Status SetName(std::string_view name, Server* server) {
  if (name.empty() || name.size() > kMaxName) {
    return Fault("name {}: give 1 to {} bytes", Quoted(name), kMaxName);
  }
  server->set_name(std::string(name));
  return absl::OkStatus();
}

// HOST:PORT and, behind a second colon, the weight.
std::pair<std::string_view, std::string_view> SplitWeight(std::string_view text) {
  const size_t host_end = text.substr(0, 1) == "[" ? text.find(']') : 0;
  if (host_end == std::string_view::npos) return {text, {}};
  const size_t port = text.find(':', host_end);
  if (port == std::string_view::npos) return {text, {}};
  const size_t weight = text.find(':', port + 1);
  // More colons: an IPv6 address without brackets, which the address's check explains.
  if (weight == std::string_view::npos || text.find(':', weight + 1) != std::string_view::npos) {
    return {text, {}};
  }
  return {text.substr(0, weight), text.substr(weight)};
}

absl::StatusOr<Server> ParseNamed(std::string_view text, size_t equals) {
  Server server;
  const auto [address, weight] = SplitWeight(text.substr(equals + 1));
  for (const absl::Status& status :
       {SetName(text.substr(0, equals), &server), SetAddress(address, &server)}) {
    if (!status.ok()) return Fault("{}: {}", Quoted(text), Message(status));
  }
  if (!weight.empty()) {
    const auto number = ParseWeight(weight.substr(1));
    if (!number.ok()) return Fault("{}: {}", Quoted(text), Message(number.status()));
    server.set_weight(*number);
  }
  return server;
}

std::string_view Trimmed(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(" \t") - first + 1);
}

// What a line says before its comment, which begins with a # that stands alone or first.
std::string_view WithoutComment(std::string_view line) {
  size_t hash = line.find('#');
  while (hash != std::string_view::npos && hash > 0 && line[hash - 1] != ' ' &&
         line[hash - 1] != '\t') {
    hash = line.find('#', hash + 1);
  }
  return Trimmed(line.substr(0, hash));
}

// A line of a file: ours, or that of a configuration file.
absl::StatusOr<Server> ParseLine(std::string_view line) {
  const size_t equals = line.find('=');
  if (equals != std::string_view::npos) return ParseNamed(line, equals);
  const auto configured = config::ParseServer(line);
  if (!configured.ok()) {
    return Fault("{}; or {}", Message(configured.status()), kForm);
  }
  if (configured->address.is_unix()) {
    return Fault("{}: a unix socket can only be given in the configuration file", Quoted(line));
  }
  Server server;
  server.set_name(configured->name);
  server.set_weight(configured->weight);
  const std::string& host = configured->address.host;
  const bool v6 = host.find(':') != std::string::npos;
  server.set_address(
      fmt::format("{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", configured->address.port));
  return server;
}

// Reading the entries of YAML and JSON. `null` is a field that is not set.

absl::Status SetWeight(std::string_view text, Server* server) {
  const auto weight = ParseWeight(text);
  if (!weight.ok()) return weight.status();
  server->set_weight(*weight);
  return absl::OkStatus();
}

absl::Status SetZone(std::string_view text, Server* server) {
  server->set_zone(std::string(text));
  return absl::OkStatus();
}

absl::Status SetState(std::string_view text, Server* server) {
  const google::protobuf::EnumDescriptor& type = *membership::v1::ServerState_descriptor();
  for (int i = 0; i < type.value_count(); ++i) {
    const int number = type.value(i)->number();
    if (text == ShortName(type, number)) {
      server->set_state(static_cast<ServerState>(number));
      return absl::OkStatus();
    }
  }
  return Fault("state {}: give ready, down or draining", Quoted(text));
}

struct FieldRow {
  std::string_view name;
  absl::Status (*set)(std::string_view text, Server* server);
};
constexpr std::array<FieldRow, 5> kFields = {{
    {"name", SetName},
    {"address", SetAddress},
    {"weight", SetWeight},
    {"zone", SetZone},
    {"state", SetState},
}};

absl::Status SetField(const YamlNode::Entry& entry, Server* server) {
  const std::string& key = entry.key->text;
  for (const FieldRow& field : kFields) {
    if (field.name != key) continue;
    if (entry.value->is_missing() || entry.value->text == "null") return absl::OkStatus();
    if (!entry.value->is_scalar()) return Fault("{} is a list or a mapping; give one value", key);
    return field.set(entry.value->text, server);
  }
  return Fault("{} is no key of a server; those are name, address, weight, zone and state",
               Quoted(key));
}

// REQUIRES: node.is_map().
absl::StatusOr<Server> ParseMapping(const YamlNode& node) {
  // An entry of `servers --output json` holds what was listed under `server`.
  const YamlNode* inner = node.Find("server");
  const YamlNode& listed = inner != nullptr && inner->is_map() ? *inner : node;
  Server server;
  for (const YamlNode::Entry& entry : listed.entries) {
    const absl::Status status = SetField(entry, &server);
    if (!status.ok()) return status;
  }
  if (server.name().empty() || server.address().empty()) {
    return Fault("a server needs at least a name and an address");
  }
  return server;
}

absl::StatusOr<Server> ParseEntry(const YamlNode& node) {
  if (node.is_map()) return ParseMapping(node);
  if (node.is_scalar()) return ParseLine(node.text);
  return Fault("a server is a line or a mapping");
}

// Whether a server of the file is only held: it left the pool's list and must not come back.
bool IsHeld(const YamlNode& node) {
  const YamlNode* held = node.is_map() ? node.Find("held") : nullptr;
  return held != nullptr && held->text == "true" && node.Find("server") != nullptr;
}

// Collects servers; two of one name are a fault.
class Collector {
 public:
  absl::Status Add(absl::StatusOr<Server> server) {
    if (!server.ok()) return server.status();
    if (!names_.insert(server->name()).second) {
      return Fault("the name {} is given twice", Quoted(server->name()));
    }
    *list_.Add() = *std::move(server);
    return absl::OkStatus();
  }
  ServerList Take() { return std::move(list_); }

 private:
  ServerList list_;
  std::set<std::string> names_;
};

absl::Status At(const std::string& file, int line, const absl::Status& status) {
  return Fault("{}:{}: {}", file, line, Message(status));
}

absl::StatusOr<ServerList> ParseYamlList(std::string_view text, const std::string& file) {
  config::YamlDocument document;
  config::YamlError error;
  if (!config::ParseYaml(text, &document, &error)) {
    return Fault("{}:{}: {}", file, error.line, error.text);
  }
  const YamlNode* list = &document.root();
  if (list->is_map()) list = list->Find("servers");
  if (list == nullptr || !list->is_sequence()) {
    return Fault("{}: holds no list of servers, neither by itself nor under the key `servers`",
                 file);
  }
  Collector collector;
  for (const YamlNode* node : list->items) {
    if (IsHeld(*node)) continue;
    const absl::Status status = collector.Add(ParseEntry(*node));
    if (!status.ok()) return At(file, node->line, status);
  }
  return collector.Take();
}

absl::StatusOr<ServerList> ParseLines(std::string_view text, const std::string& file) {
  Collector collector;
  int number = 0;
  for (const std::string_view raw : config::SplitLines(text)) {
    ++number;
    const std::string_view line = WithoutComment(raw);
    if (line.empty()) continue;
    const absl::Status status = collector.Add(ParseLine(line));
    if (!status.ok()) return At(file, number, status);
  }
  return collector.Take();
}

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool BeginsWithIpv6(std::string_view line) {
  in6_addr ignored;
  return line[0] == '[' &&
         inet_pton(AF_INET6, std::string(line.substr(1, line.find(']') - 1)).c_str(), &ignored) ==
             1;
}

// By the file's name, or else by the first line that says something: YAML and JSON lists begin
// with -, [ or {, and a mapping's with a key.
bool IsYaml(std::string_view text, std::string_view file) {
  for (const std::string_view end : {".yml", ".yaml", ".json"}) {
    if (EndsWith(file, end)) return true;
  }
  for (const std::string_view raw : config::SplitLines(text)) {
    const std::string_view line = WithoutComment(raw);
    if (line.empty()) continue;
    if (BeginsWithIpv6(line)) return false;
    return std::string_view("-[{").find(line[0]) != std::string_view::npos || EndsWith(line, ":") ||
           line.substr(0, 8) == "servers:";
  }
  return false;
}

ServerList::iterator Find(std::string_view name, ServerList* list) {
  return std::find_if(list->begin(), list->end(),
                      [name](const Server& each) { return each.name() == name; });
}

uint32_t WeightOf(const Server& server) { return server.has_weight() ? server.weight() : 1; }

std::string NamesOf(const ServerList& list) {
  if (list.empty()) return "none";
  std::vector<std::string> names;
  for (const Server& server : list) names.push_back(server.name());
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

absl::StatusOr<Server> ParseServerArgument(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) return Fault("{} has no name; {}", Quoted(text), kForm);
  return ParseNamed(text, equals);
}

absl::StatusOr<ServerList> ParseServerArguments(const std::vector<std::string>& arguments) {
  Collector collector;
  for (const std::string& argument : arguments) {
    const absl::Status status = collector.Add(ParseServerArgument(argument));
    if (!status.ok()) return status;
  }
  return collector.Take();
}

absl::StatusOr<ServerList> ParseServerFile(std::string_view text, const std::string& file) {
  return IsYaml(text, file) ? ParseYamlList(text, file) : ParseLines(text, file);
}

ServerList ListOf(const membership::v1::Pool& pool) {
  ServerList list;
  for (const membership::v1::ServerStatus& status : pool.servers()) {
    if (!status.held()) *list.Add() = status.server();
  }
  return list;
}

absl::Status AddServers(const ServerList& added, bool replace, ServerList* list) {
  for (const Server& server : added) {
    const auto present = Find(server.name(), list);
    if (present == list->end()) {
      *list->Add() = server;
    } else if (replace) {
      present->set_address(server.address());
      if (server.has_weight()) present->set_weight(server.weight());
    } else if (present->address() != server.address() || WeightOf(*present) != WeightOf(server)) {
      return absl::AlreadyExistsError(
          fmt::format("there is a server {} already, at {} with weight {}; --replace gives it the "
                      "new address and weight",
                      Quoted(server.name()), present->address(), WeightOf(*present)));
    }
  }
  return absl::OkStatus();
}

absl::Status RemoveServers(const std::vector<std::string>& names, ServerList* list) {
  for (const std::string& name : names) {
    const auto present = Find(name, list);
    if (present == list->end()) {
      return absl::NotFoundError(fmt::format("there is no server {} in the list; it has: {}",
                                             Quoted(name), NamesOf(*list)));
    }
    list->erase(present);
  }
  return absl::OkStatus();
}

}  // namespace cashew::ctl
