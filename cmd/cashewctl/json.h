#pragma once

#include <string>

#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"

namespace cashew::ctl {

// A message as JSON for scripts: every field, always, under its name in the .proto file.
// Unlike protobuf's own mapping, 64-bit numbers are numbers, a value of an enum is its name
// without the enum's (`draining`), and what is unset is null. Timestamps are RFC 3339, UTC.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

// Indented, or in one line; bytes that are no UTF-8 are replaced, never thrown over.
std::string Dump(const nlohmann::ordered_json& json);
std::string DumpLine(const nlohmann::ordered_json& json);

// The name of an enum's value without the enum's: SERVER_STATE_DRAINING is `draining`.
std::string ShortName(const google::protobuf::EnumDescriptor& type, int number);

}  // namespace cashew::ctl
