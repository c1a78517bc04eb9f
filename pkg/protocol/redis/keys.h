#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "pkg/protocol/redis/command_table.h"

namespace cashew::protocol::redis {

enum class KeysError : uint8_t {
  kNone,
  kNotANumber,
  kTooMany,   // numkeys beyond the arguments
  kNegative,  // numkeys
  kNoKeys,    // numkeys 0 where a key is needed
  kSyntax,
};

// Where the keys of a command are: their positions among `words` (the name is 0), in
// order. A script may have none. REQUIRES: as many words as the row's arity asks for.
KeysError FindKeys(const CommandSpec& spec, std::span<const std::string_view> words,
                   std::vector<uint32_t>* positions);

// Whether the server may take its time over it: the rows that block, and XREAD or
// XREADGROUP with BLOCK.
bool Blocks(const CommandSpec& spec, std::span<const std::string_view> words);

// For how long: ms, 0 for ever, -1 when that is no time (the server will say so at once).
int64_t BlockTimeoutMs(const CommandSpec& spec, std::span<const std::string_view> words);

}  // namespace cashew::protocol::redis
