#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace cashew::protocol::redis {

// What the proxy does with a command.
enum class Handling : uint8_t {
  kForward,      // to the server that holds its keys; several keys must share a server
  kSplitList,    // a part for each server; their lists merged into one (MGET)
  kSplitSum,     // … their numbers added up (DEL)
  kSplitOk,      // … OK when all said so (MSET)
  kLocal,        // answered by the proxy: local_commands.cc
  kTransaction,  // MULTI, EXEC, DISCARD, WATCH, UNWATCH: transactions.cc
  kBlocking,     // as kForward, on a connection that nobody else uses meanwhile
  kCluster,      // asks every server; only with `cluster_commands: true`
  kDangerous,    // the same, only with `dangerous_commands: true`
  kRefused,      // an error that says why
};

// What a command does to the connection it comes on, beyond its one reply. A server
// connection is shared by many clients, so on one of those only kNone is ever sent.
enum class Effect : uint8_t {
  kNone,
  kBlocks,       // the connection waits
  kTransaction,  // it is in a transaction, or watches keys
  kReplies,      // other replies come than one for each request (SUBSCRIBE, MONITOR, …)
  kDatabase,     // it speaks of other data
  kProtocol,     // it speaks otherwise
  kLogin,        // it may do other things
  kName,         // it is called or treated otherwise
  kCloses,
  kServer,  // none to the connection, but to the server: administration
};

// Where the keys are. Positions count the command's name as 0, and a subcommand as 1.
enum class KeySpec : uint8_t {
  kNone,
  kRange,        // from `first` to `last` (negative: from the end) in steps, as in COMMAND
  kNumkeys,      // their number at `first`, the keys behind it; with `step` 2, each with a value
  kDestNumkeys,  // one at 1; then as kNumkeys
  kScript,       // as kNumkeys, and there may be none
  kStreams,      // the first half of what follows the word STREAMS
  kSort,         // one at 1, and one behind STORE
  kGeoradius,    // one at 1, and one behind STORE or STOREDIST
};

// How many arguments nutcracker takes behind the key; it hangs up on others.
inline constexpr int8_t kNutcrackerNo = -1;      // does not know the command
inline constexpr int8_t kNutcrackerAny = -2;     // a key and whatever follows
inline constexpr int8_t kNutcrackerPairs = -3;   // keys and values (MSET)
inline constexpr int8_t kNutcrackerScript = -4;  // script, numkeys > 0, a key (EVAL)
inline constexpr int8_t kNutcrackerAlone = -5;   // no argument (PING)
inline constexpr int8_t kNutcrackerFree = -6;    // no key, whatever follows (LOLWUT)
inline constexpr int8_t kNutcrackerOne = -7;     // no key, one argument (AUTH)

struct CommandSpec {
  std::string_view name;  // lower case; a subcommand's is "object|encoding"
  int16_t arity;          // words, name included; negative: at least so many
  Handling handling;
  Effect effect;
  KeySpec keys;
  int8_t first, last, step;
  bool read;                 // changes nothing
  bool value;                // may carry much: refused first when memory is short
  int8_t nutcracker;         // see above
  std::string_view refusal;  // kRefused: why, and what would do
  bool get;                  // gets its keys' values whole, or nulls: counts for the hit ratio
};

// Null when there is no such command. Case does not matter. `first_argument` picks the
// subcommand, where there are any; `*container` says that the name has subcommands.
const CommandSpec* FindCommand(std::string_view name, std::string_view first_argument,
                               bool* container = nullptr);

// Whether nutcracker takes the command with these words: `compat: strict`.
bool NutcrackerTakes(const CommandSpec& spec, std::span<const std::string_view> words);

// All rows.
std::span<const CommandSpec> Commands();

}  // namespace cashew::protocol::redis
