#include "pkg/state/record.h"

#include <absl/status/status.h>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <optional>
#include <set>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::state {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMagic = "cashew-state";
constexpr size_t kMaxHeaderBytes = 128;
constexpr int kMaxDepth = 4;  // body, servers, a server; one to spare
constexpr size_t kShown = 64;

template <typename... Args>
absl::Status Refused(fmt::format_string<Args...> format, Args&&... args) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Args>(args)...));
}

std::string Show(std::string_view text) { return base::Escape(text, kShown); }

// --- Strings -------------------------------------------------------------------------------

template <typename IsPlain>
std::string PercentEncode(std::string_view text, IsPlain is_plain) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_plain(i)) {
      out += text[i];
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(text[i]));
    }
  }
  return out;
}

std::string EncodeText(std::string_view text) {
  return PercentEncode(
      text, [&](size_t i) { return text[i] >= ' ' && text[i] < 0x7f && text[i] != '%'; });
}

std::optional<std::string> DecodeText(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    unsigned byte = 0;
    const char* end = text.data() + i + 3;
    const auto [stop, error] = std::from_chars(text.data() + i + 1, end, byte, 16);
    if (error != std::errc() || stop != end) return std::nullopt;
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

std::string Sha256Hex(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  // Cannot fail but for want of memory; then the empty text matches no header.
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) != 1) return "";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    fmt::format_to(std::back_inserter(hex), "{:02x}", digest[i]);
  }
  return hex;
}

// --- Validity ------------------------------------------------------------------------------

absl::Status ValidateServer(const pool::ServerSpec& server) {
  if (server.weight == 0) return Refused("weight is 0, at least 1 is needed");
  if (!server.unix_path.empty()) {
    if (server.unix_path[0] == '/') return absl::OkStatus();
    return Refused("socket path \"{}\" is not absolute", Show(server.unix_path));
  }
  if (server.host.empty()) return Refused("has neither a host nor a socket path");
  if (server.port == 0) return Refused("port is 0, 1 to 65535 is needed");
  return absl::OkStatus();
}

// --- JSON ----------------------------------------------------------------------------------

std::optional<pool::ServerState> StateNamed(std::string_view name) {
  for (auto state :
       {pool::ServerState::kReady, pool::ServerState::kDown, pool::ServerState::kDraining}) {
    if (name == pool::ServerStateName(state)) return state;
  }
  return std::nullopt;
}

Json ToJson(const pool::ServerSpec& server) {
  Json out = {{"name", EncodeText(server.name)},
              {"weight", server.weight},
              {"state", pool::ServerStateName(server.state)}};
  if (!server.host.empty()) out["host"] = EncodeText(server.host);
  if (server.port != 0) out["port"] = server.port;
  if (!server.unix_path.empty()) out["unix_path"] = EncodeText(server.unix_path);
  if (!server.zone.empty()) out["zone"] = EncodeText(server.zone);
  return out;
}

Json ToJson(const pool::Override& override) {
  Json out = Json::object();
  if (override.state) out["state"] = pool::ServerStateName(*override.state);
  if (override.weight) out["weight"] = *override.weight;
  if (override.expires_us != 0) out["expires_us"] = override.expires_us;
  return out;
}

// Reads the fields of one object. The first thing that is wrong is kept in `error`, prefixed
// with `where`, and what is read after it is of no use.
class Fields {
 public:
  Fields(const Json& object, std::string where, absl::Status* error)
      : object_(object), where_(std::move(where)), error_(error) {
    if (!object.is_object()) Fail("is not an object");
  }

  bool Has(const char* key) const { return object_.is_object() && object_.contains(key); }

  std::string Text(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return "";
    if (!value->is_string()) {
      Fail("{} is not a string", key);
      return "";
    }
    const std::optional<std::string> text = DecodeText(value->get_ref<const std::string&>());
    if (!text) Fail("{} has a '%' without two hex digits", key);
    return text.value_or("");
  }

  std::string TextOr(const char* key) { return Has(key) ? Text(key) : ""; }

  template <typename T>
  T Number(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return 0;
    const std::optional<int64_t> number = Whole(*value);
    if (!number || *number < static_cast<int64_t>(std::numeric_limits<T>::min()) ||
        *number > static_cast<int64_t>(std::numeric_limits<T>::max())) {
      Fail("{} is not a whole number in its range", key);
      return 0;
    }
    return static_cast<T>(*number);
  }

  bool Flag(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) Fail("{} is neither true nor false", key);
    return value->is_boolean() && value->get<bool>();
  }

  pool::ServerState State(const char* key) {
    const std::string name = Text(key);
    const std::optional<pool::ServerState> state = StateNamed(name);
    if (!state) Fail("{} is \"{}\", not ready, down or draining", key, Show(name));
    return state.value_or(pool::ServerState::kReady);
  }

  // The array or object under `key`; an empty one in its place when there is none.
  const Json& Items(const char* key, Json::value_t type) {
    static const Json kNone = Json::array();
    const Json* value = Find(key);
    if (value == nullptr) return kNone;
    if (value->type() == type) return *value;
    Fail("{} is of another type", key);
    return kNone;
  }

 private:
  static std::optional<int64_t> Whole(const Json& value) {
    if (!value.is_number_integer()) return std::nullopt;
    if (value.is_number_unsigned() &&
        value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return std::nullopt;
    }
    return value.get<int64_t>();
  }

  const Json* Find(const char* key) {
    if (Has(key)) return &object_[key];
    Fail("{} is missing", key);
    return nullptr;
  }

  template <typename... Args>
  void Fail(fmt::format_string<Args...> format, Args&&... args) {
    if (!error_->ok()) return;
    *error_ = Refused("{}: {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }

  const Json& object_;
  const std::string where_;
  absl::Status* const error_;
};

pool::ServerSpec ReadServer(const Json& json, size_t index, absl::Status* error) {
  Fields fields(json, fmt::format("server {}", index + 1), error);
  pool::ServerSpec server;
  server.name = fields.Text("name");
  server.host = fields.TextOr("host");
  if (fields.Has("port")) server.port = fields.Number<uint16_t>("port");
  server.unix_path = fields.TextOr("unix_path");
  server.weight = fields.Number<uint32_t>("weight");
  server.zone = fields.TextOr("zone");
  server.state = fields.State("state");
  return server;
}

pool::Override ReadOverride(const Json& json, const std::string& name, absl::Status* error) {
  Fields fields(json, fmt::format("override of \"{}\"", Show(name)), error);
  pool::Override override;
  if (fields.Has("state")) override.state = fields.State("state");
  if (fields.Has("weight")) override.weight = fields.Number<uint32_t>("weight");
  if (fields.Has("expires_us")) override.expires_us = fields.Number<int64_t>("expires_us");
  return override;
}

absl::StatusOr<PoolRecord> ReadBody(const std::string& pool, std::string_view body) {
  const Json json = Json::parse(
      body.begin(), body.end(),
      [](int depth, Json::parse_event_t, Json&) { return depth <= kMaxDepth; },
      /*allow_exceptions=*/false);
  if (json.is_discarded()) return Refused("the body is not JSON");
  absl::Status error;
  Fields fields(json, "the body", &error);
  const std::string owner = fields.Text("pool");
  if (error.ok() && owner != pool) return Refused("it is of pool \"{}\"", Show(owner));
  PoolRecord record;
  record.has_list = fields.Flag("has_list");
  record.updater = fields.Text("updater");
  record.source_version = fields.Text("source_version");
  record.updated_us = fields.Number<int64_t>("updated_us");
  for (const Json& server : fields.Items("servers", Json::value_t::array)) {
    record.servers.push_back(ReadServer(server, record.servers.size(), &error));
    if (!error.ok()) return error;
  }
  if (fields.Has("held")) {
    for (const Json& server : fields.Items("held", Json::value_t::array)) {
      record.held.push_back(ReadServer(server, record.held.size(), &error));
      if (!error.ok()) return error;
    }
  }
  for (const auto& [key, value] : fields.Items("overrides", Json::value_t::object).items()) {
    const std::optional<std::string> name = DecodeText(key);
    if (!name) return Refused("override of \"{}\": the name is badly encoded", Show(key));
    record.overrides[*name] = ReadOverride(value, *name, &error);
  }
  if (!error.ok()) return error;
  if (absl::Status valid = Validate(record); !valid.ok()) return valid;
  return record;
}

// --- The header ----------------------------------------------------------------------------

struct Header {
  uint64_t length = 0;
  std::string_view sha256;  // into the file
};

// The next word of `*line`, which is left at what follows it.
std::string_view Word(std::string_view* line) {
  const size_t space = line->find(' ');
  const std::string_view word = line->substr(0, space);
  line->remove_prefix(space == std::string_view::npos ? line->size() : space + 1);
  return word;
}

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

absl::StatusOr<Header> ReadHeader(std::string_view line) {
  if (Word(&line) != kMagic) return Refused("it does not begin with \"{}\"", kMagic);
  const std::string_view format = Word(&line);
  const std::optional<uint64_t> number = ParseNumber(format);
  if (!number) return Refused("the format \"{}\" is not a number", Show(format));
  if (*number != kFormat) {
    return Refused("its format is {}, this version reads {}", *number, kFormat);
  }
  const std::string_view length = Word(&line);
  const std::optional<uint64_t> bytes = ParseNumber(length);
  if (!bytes) return Refused("the length \"{}\" is not a number", Show(length));
  return Header{*bytes, line};
}

}  // namespace

absl::Status Validate(const PoolRecord& record) {
  if (!record.has_list && !(record.servers.empty() && record.held.empty())) {
    return Refused("servers without has_list");
  }
  std::set<std::string_view> names;
  for (const auto* list : {&record.servers, &record.held}) {
    for (size_t i = 0; i < list->size(); ++i) {
      const pool::ServerSpec& server = (*list)[i];
      if (server.name.empty()) return Refused("server {} has no name", i + 1);
      const absl::Status valid = ValidateServer(server);
      if (!valid.ok()) {
        return Refused("server {} \"{}\": {}", i + 1, Show(server.name),
                       std::string(valid.message()));
      }
      if (!names.insert(server.name).second) {
        return Refused("server {} \"{}\": the name is there twice", i + 1, Show(server.name));
      }
    }
  }
  for (const auto& [name, override] : record.overrides) {
    if (name.empty()) return Refused("an override without a server's name");
    if (override.weight == 0u) {
      return Refused("override of \"{}\": weight is 0, at least 1 is needed", Show(name));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Encode(const std::string& pool, const PoolRecord& record) {
  if (absl::Status valid = Validate(record); !valid.ok()) return valid;
  Json json = {{"pool", EncodeText(pool)},
               {"has_list", record.has_list},
               {"updater", EncodeText(record.updater)},
               {"source_version", EncodeText(record.source_version)},
               {"updated_us", record.updated_us},
               {"servers", Json::array()},
               {"overrides", Json::object()}};
  for (const pool::ServerSpec& server : record.servers) json["servers"].push_back(ToJson(server));
  for (const pool::ServerSpec& server : record.held) json["held"].push_back(ToJson(server));
  for (const auto& [name, override] : record.overrides) {
    json["overrides"][EncodeText(name)] = ToJson(override);
  }
  const std::string body = json.dump() + "\n";
  std::string file =
      fmt::format("{} {} {} {}\n{}", kMagic, kFormat, body.size(), Sha256Hex(body), body);
  if (file.size() > kMaxFileBytes) {
    return Refused("the record takes {} bytes, {} is the most", file.size(), kMaxFileBytes);
  }
  return file;
}

absl::StatusOr<PoolRecord> Decode(const std::string& pool, std::string_view file) {
  const size_t end = file.substr(0, kMaxHeaderBytes).find('\n');
  if (end == std::string_view::npos) return Refused("the header line is missing or torn");
  absl::StatusOr<Header> header = ReadHeader(file.substr(0, end));
  if (!header.ok()) return header.status();
  const std::string_view body = file.substr(end + 1);
  if (body.size() != header->length) {
    return Refused("the body is {} bytes long, the header says {}", body.size(), header->length);
  }
  if (header->sha256 != Sha256Hex(body)) return Refused("the checksum does not match the body");
  return ReadBody(pool, body);
}

std::string FileName(const std::string& pool) {
  constexpr size_t kMaxName = 180;  // with suffixes well below the 255 of file systems
  constexpr size_t kKept = 100;
  const auto is_plain = [&](size_t i) {
    const char c = pool[i];
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (c == '.' && i > 0);
  };
  // "%" and "%h" come out of no encoding, so neither form meets another pool's name.
  std::string name = pool.empty() ? "%" : PercentEncode(pool, is_plain);
  if (name.size() > kMaxName) name = name.substr(0, kKept) + "%h" + Sha256Hex(pool);
  return name + ".state";
}

}  // namespace cashew::state
