#pragma once

#include <cstdint>
#include <string_view>

#include "pkg/protocol/codec.h"

namespace cashew::protocol::memcached {

// What may follow the command's name.
enum class Shape : uint8_t {
  kKeys,         // key+
  kExptimeKeys,  // exptime key+
  kStorage,      // key flags exptime bytes [noreply], value
  kCas,          // key flags exptime bytes unique [noreply], value
  kArithmetic,   // key delta [noreply]
  kTouch,        // key exptime [noreply]
  kDelete,       // key [0] [noreply]
  kVersion,      // nothing that matters
  kQuit,
  kStats,
  kFlushAll,   // [delay] [noreply]
  kVerbosity,  // level [noreply]
  kMeta,       // key flag*
  kMetaSet,    // key bytes flag*, value
  kMetaNoop,
  kRefused,  // server administration
};

// What the server may answer.
enum class ReplyKind : uint8_t {
  kValues,   // VALUE blocks, then END
  kStored,   // STORED, NOT_STORED, EXISTS, NOT_FOUND
  kNumber,   // digits, NOT_FOUND
  kTouched,  // TOUCHED, NOT_FOUND
  kDeleted,  // DELETED, NOT_FOUND
  kVersion,
  kOk,
  kMetaGet,         // VA, HD, EN
  kMetaSet,         // HD, NS, EX, NF
  kMetaDelete,      // HD, NF, EX
  kMetaArithmetic,  // HD, VA, NF, NS, EX
  kMetaDebug,       // ME, EN
};

struct CommandSpec {
  std::string_view name;
  Shape shape;
  ReplyKind reply;
  bool nutcracker;  // nutcracker forwards it; `compat: strict` closes on the others
  std::string_view
      flags;  // meta commands: the flags they take ('#': a number follows the one before)
};

// Null when there is no such command. Names are case-sensitive, as in memcached.
const CommandSpec* FindCommand(std::string_view name);

// For tests that go through every row.
const CommandSpec* CommandsBegin();
const CommandSpec* CommandsEnd();

}  // namespace cashew::protocol::memcached
