#include "pkg/protocol/memcached/command_table.h"

#include <iterator>

namespace cashew::protocol::memcached {
namespace {

// The most frequent first. Meta flags: memcached's doc/protocol.txt (1.6).
constexpr CommandSpec kCommands[] = {
    {"get", Shape::kKeys, ReplyKind::kValues, true, ""},
    {"set", Shape::kStorage, ReplyKind::kStored, true, ""},
    {"mg", Shape::kMeta, ReplyKind::kMetaGet, false, "bcfhklOqstvE#N#R#T#"},
    {"ms", Shape::kMetaSet, ReplyKind::kMetaSet, false, "bckOqstC#E#F#IM?N#T#"},
    {"gets", Shape::kKeys, ReplyKind::kValues, true, ""},
    {"add", Shape::kStorage, ReplyKind::kStored, true, ""},
    {"replace", Shape::kStorage, ReplyKind::kStored, true, ""},
    {"append", Shape::kStorage, ReplyKind::kStored, true, ""},
    {"prepend", Shape::kStorage, ReplyKind::kStored, true, ""},
    {"cas", Shape::kCas, ReplyKind::kStored, true, ""},
    {"delete", Shape::kDelete, ReplyKind::kDeleted, true, ""},
    {"incr", Shape::kArithmetic, ReplyKind::kNumber, true, ""},
    {"decr", Shape::kArithmetic, ReplyKind::kNumber, true, ""},
    {"touch", Shape::kTouch, ReplyKind::kTouched, true, ""},
    {"gat", Shape::kExptimeKeys, ReplyKind::kValues, false, ""},
    {"gats", Shape::kExptimeKeys, ReplyKind::kValues, false, ""},
    {"md", Shape::kMeta, ReplyKind::kMetaDelete, false, "bkOqC#E#IT#x"},
    {"ma", Shape::kMeta, ReplyKind::kMetaArithmetic, false, "bckOqtvC#D#E#IJ#M?N#T#"},
    {"me", Shape::kMeta, ReplyKind::kMetaDebug, false, "bk"},
    {"mn", Shape::kMetaNoop, ReplyKind::kOk, false, ""},
    {"version", Shape::kVersion, ReplyKind::kVersion, true, ""},
    {"quit", Shape::kQuit, ReplyKind::kOk, true, ""},
    {"stats", Shape::kStats, ReplyKind::kOk, false, ""},
    {"flush_all", Shape::kFlushAll, ReplyKind::kOk, false, ""},
    {"verbosity", Shape::kVerbosity, ReplyKind::kOk, false, ""},
    {"cache_memlimit", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"config", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"extstore", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"lru", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"lru_crawler", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"refresh_certs", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"reload_auth", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"shutdown", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"slabs", Shape::kRefused, ReplyKind::kOk, false, ""},
    {"watch", Shape::kRefused, ReplyKind::kOk, false, ""},
};

}  // namespace

const CommandSpec* FindCommand(std::string_view name) {
  for (const CommandSpec& spec : kCommands) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

const CommandSpec* CommandsBegin() { return std::begin(kCommands); }
const CommandSpec* CommandsEnd() { return std::end(kCommands); }

}  // namespace cashew::protocol::memcached
