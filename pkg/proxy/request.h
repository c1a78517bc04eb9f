#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pkg/metrics/cells.h"
#include "pkg/net/buffer.h"
#include "pkg/protocol/codec.h"

namespace cashew::proxy {

class ClientSession;
struct Request;
struct Trace;

// What one server is asked: a whole request, or one server's part of a multi-key
// request. From being queued until its reply (or the connection's end) it stands
// in exactly one server session's queue.
struct Fragment {
  Fragment* next = nullptr;  // in the server's queue
  Request* request = nullptr;
  int64_t queued_ns = 0;    // when its timeout began to run
  int64_t sent_ns = 0;      // when its last byte was written; before that, as queued_ns
  uint64_t end_offset = 0;  // where its last byte lies in the server's output stream
  uint32_t bytes = 0;
  uint32_t signature = 0;  // of the one key; a split's fragments keep theirs in the Split
  bool expires = true;
  // The client has been answered for this part, by an error: the server's reply is
  // discarded as it comes (a tombstone).
  bool resolved = false;
  bool failed = false;   // `reply` is an error line
  bool ordinary = true;  // `reply` is what was asked for, not a server's error
  bool own = false;      // the proxy's own request: it is not counted
  bool written = false;  // to the server, wholly
  uint32_t gets = 0;     // keys whose values it gets
  int64_t wait_ms = -1;  // how long the server may take; -1: the pool's timeout
  protocol::Expectation expect;
  std::vector<protocol::Block>* blocks = nullptr;  // a split's: where each key's stretch is
  net::ByteQueue reply;                            // what has come and could not go out yet
};

// A multi-key request: its parts, and what is needed to merge their replies in the
// order of the request, in time linear in its keys. Recycled, so that its vectors
// keep their memory.
struct Split {
  struct Part {
    Fragment fragment;
    std::vector<protocol::Block> blocks;
    uint32_t server = 0;
    uint32_t keys = 0;
    uint32_t next_key = 0;    // while merging: index among its keys
    uint32_t next_block = 0;  // while merging
  };
  std::vector<std::unique_ptr<Part>> parts;  // the first `used` count
  uint32_t used = 0;
  std::vector<uint32_t> part_of_key;           // for each key, in the order of the request
  std::vector<uint32_t> signatures;            // grouped by part
  std::vector<std::string_view> grouped_keys;  // while splitting
  std::vector<uint32_t> cursor, group_end;     // while splitting, for each server
  std::string encoded;                         // while splitting
  protocol::Merge merge = protocol::Merge::kBlocks;
};

// A client's request and its slot in the order of replies. It lives until it was
// answered (or the client left) and no server owes anything for it.
struct Request {
  Request* prev = nullptr;  // in the client's list of requests
  Request* next = nullptr;
  ClientSession* client = nullptr;       // null: the client left, or was answered
  metrics::ClassCells* cells = nullptr;  // of its class; the pool's, so while it has a client
  int64_t began_ns = 0;                  // when it was read
  Trace* trace = nullptr;                // null unless the pool's observer wants one
  protocol::Quiet quiet = protocol::Quiet::kNo;
  bool is_read = false;
  bool done = false;       // can be answered
  bool streaming = false;  // part of its reply is out already
  uint8_t reply_kind = 0;
  bool scan = false;     // its reply begins with a cursor of ours
  uint32_t scan_at = 0;  // the server asked, of so many, in the list with that check
  uint32_t scan_servers = 0;
  uint32_t scan_check = 0;
  uint32_t waiting = 0;      // parts that the client's answer still needs
  uint32_t outstanding = 0;  // parts in servers' queues
  uint32_t bytes = 0;        // sent to servers, counted against the client
  std::unique_ptr<Split> split;
  Fragment fragment;  // the only part, unless split; its `reply` also holds local answers
};

}  // namespace cashew::proxy
