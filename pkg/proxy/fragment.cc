#include "pkg/proxy/fragment.h"

#include <algorithm>
#include <cassert>

#include "pkg/proxy/client_session.h"
#include "pkg/proxy/local_pool.h"
#include "pkg/proxy/trace.h"

namespace cashew::proxy {
namespace {

using metrics::ErrorKind;
using metrics::PoolMetric;

constexpr std::string_view kTooLarge =
    "the servers' replies are larger than the pool's client_max_buffer";

void InitFragment(Fragment* fragment, Request* request, const protocol::Command& command) {
  fragment->next = nullptr;
  fragment->request = request;
  fragment->expires = command.expires;
  fragment->resolved = fragment->failed = false;
  fragment->ordinary = true;
  fragment->signature = 0;
  fragment->gets = command.gets;
  fragment->blocks = nullptr;
  fragment->own = fragment->written = false;
  fragment->wait_ms = command.wait_ms;
  fragment->expect = {command.reply_kind, nullptr, 0, 0, command.interim, 0, 0};
}

Split::Part* AddPart(Split* split, Request* request, const protocol::Command& command,
                     uint32_t server) {
  if (split->used == split->parts.size()) split->parts.push_back(std::make_unique<Split::Part>());
  Split::Part* part = split->parts[split->used++].get();
  part->server = server;
  part->keys = part->next_key = part->next_block = 0;
  part->blocks.clear();
  split->merge = command.merge;
  InitFragment(&part->fragment, request, command);
  return part;
}

void CountError(LocalPool& pool, ErrorKind kind) { pool.cells().errors[kind].Add(1); }

void CountGets(LocalPool& pool, const Fragment& fragment) {
  if (fragment.gets == 0) return;
  const uint32_t hits = std::min(fragment.expect.found, fragment.gets);
  if (hits > 0) pool.cells()[PoolMetric::kGetHits].Add(hits);
  if (hits < fragment.gets) pool.cells()[PoolMetric::kGetMisses].Add(fragment.gets - hits);
}

void SetParts(Request* request, uint32_t parts) { request->waiting = request->outstanding = parts; }

void OnPartResolved(Request* request, bool failed) {
  --request->waiting;
  if (request->done || (request->waiting > 0 && !failed)) return;
  request->done = true;
  if (request->client != nullptr) request->client->OnRequestDone(request);
}

// The parts' VALUE blocks in the order of the request's keys. Each part's blocks
// come in the order of its keys, those that were not found left out.
void MergeBlocks(net::BufferPool& buffers, Split* split, net::ByteQueue* out) {
  for (const uint32_t index : split->part_of_key) {
    Split::Part& part = *split->parts[index];
    const uint32_t key = part.next_key++;
    if (part.next_block == part.blocks.size()) continue;
    const protocol::Block& block = part.blocks[part.next_block];
    if (block.key != key) continue;
    ++part.next_block;
    out->SpliceFront(buffers, part.fragment.reply, block.bytes);
  }
}

// The part that decides the answer when not all went well; null when all did.
Fragment* Troubled(Split* split) {
  for (uint32_t i = 0; i < split->used; ++i) {
    Fragment& fragment = split->parts[i]->fragment;
    if (fragment.failed || !fragment.ordinary) return &fragment;
  }
  return nullptr;
}

void EmitWhole(LocalPool& pool, Split* split, net::ByteQueue* out) {
  net::BufferPool& buffers = pool.worker().buffers();
  std::vector<std::string> replies(split->used);
  int64_t bytes = 0;
  for (uint32_t i = 0; i < split->used; ++i) {
    net::ByteQueue& reply = split->parts[i]->fragment.reply;
    bytes += static_cast<int64_t>(reply.size());
    while (!reply.empty()) {
      replies[i].append(reply.FrontView());
      reply.Consume(buffers, reply.FrontView().size());
    }
  }
  if (bytes > pool.settings().client_max_buffer) {
    out->Append(buffers, pool.codec().Error(kTooLarge));
    return;
  }
  const uint8_t kind = split->parts[0]->fragment.expect.reply_kind;
  out->Append(buffers, pool.codec().MergeWhole(kind, replies));
}

void EmitSplit(LocalPool& pool, Split* split, net::ByteQueue* out) {
  net::BufferPool& buffers = pool.worker().buffers();
  if (Fragment* fragment = Troubled(split); fragment != nullptr) {
    if (!fragment->failed) CountError(pool, ErrorKind::kServer);
    if (!fragment->failed && pool.settings().strict) {
      // nutcracker loses the server's own text here.
      pool.cells()[PoolMetric::kForwardError].Add(1);
      out->Append(buffers, pool.codec().Error("Invalid argument"));
    } else {
      out->Splice(buffers, fragment->reply);
    }
    return;
  }
  if (split->merge == protocol::Merge::kWhole) return EmitWhole(pool, split, out);
  int64_t sum = 0;
  for (uint32_t i = 0; i < split->used; ++i) sum += split->parts[i]->fragment.expect.number;
  const size_t keys = split->part_of_key.size();
  out->Append(buffers, pool.codec().MergedBegin(split->merge, keys, sum));
  const bool blocks = split->merge == protocol::Merge::kBlocks;
  if (blocks && split->used == 1 && !split->parts[0]->fragment.reply.empty()) {
    out->Splice(buffers, split->parts[0]->fragment.reply);  // its end included
    return;
  }
  if (blocks) MergeBlocks(buffers, split, out);
  out->Append(buffers, pool.codec().MergedEnd(split->merge));
}

}  // namespace

Fragment* UseSingle(Request* request, const protocol::Command& command) {
  Fragment* fragment = &request->fragment;
  InitFragment(fragment, request, command);
  if (command.signature != 0) {
    fragment->signature = command.signature;
    fragment->expect.signatures = &fragment->signature;
    fragment->expect.count = 1;
  }
  SetParts(request, 1);
  return fragment;
}

void SplitByServer(LocalPool& pool, Request* request, const protocol::Command& command) {
  Split* split = request->split.get();
  const std::vector<std::string_view>& keys =
      command.stretches.empty() ? command.keys : command.stretches;
  const size_t servers = pool.server_count();
  std::vector<uint32_t>& cursor = split->cursor;

  // Keys grouped by server, each group in the order of the request: a counting sort.
  cursor.assign(servers + 1, 0);
  for (const uint32_t server : split->part_of_key) ++cursor[server + 1];
  for (size_t s = 1; s <= servers; ++s) cursor[s] += cursor[s - 1];
  split->group_end.assign(cursor.begin() + 1, cursor.end());
  split->grouped_keys.resize(keys.size());
  // Where stretches are sent, replies name no keys.
  const bool named = command.stretches.empty();
  if (named) split->signatures.resize(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const uint32_t at = cursor[split->part_of_key[i]]++;
    split->grouped_keys[at] = keys[i];
    if (named) split->signatures[at] = protocol::KeySignature(keys[i]);
  }

  // A part for each group, or several where the server takes no line that long.
  // From here on cursor[server] is its first part that still lacks keys.
  uint32_t begin = 0;
  for (uint32_t s = 0; s < servers; ++s) {
    const uint32_t end = split->group_end[s];
    cursor[s] = split->used;
    while (begin < end) {
      Split::Part* part = AddPart(split, request, command, s);
      part->keys = static_cast<uint32_t>(
          pool.codec().KeysPerPart(command, {split->grouped_keys.data() + begin, end - begin}));
      part->fragment.expect.signatures = named ? split->signatures.data() + begin : nullptr;
      part->fragment.expect.count = part->keys;
      part->fragment.gets = command.gets > 0 ? part->keys : 0;
      part->fragment.blocks = &part->blocks;
      begin += part->keys;
    }
  }
  for (uint32_t& owner : split->part_of_key) {
    uint32_t& part = cursor[owner];
    if (split->parts[part]->next_key == split->parts[part]->keys) ++part;
    ++split->parts[part]->next_key;
    owner = part;
  }
  for (uint32_t i = 0; i < split->used; ++i) split->parts[i]->next_key = 0;
  SetParts(request, split->used);
}

void SplitToAll(LocalPool& pool, Request* request, const protocol::Command& command) {
  Split* split = request->split.get();
  for (uint32_t s = 0; s < pool.server_count(); ++s) AddPart(split, request, command, s);
  SetParts(request, split->used);
}

bool Wanted(const Fragment& fragment) {
  const Request& request = *fragment.request;
  return !fragment.resolved && request.client != nullptr && !request.done &&
         request.quiet != protocol::Quiet::kAll;
}

void FinishPart(LocalPool& pool, Fragment* fragment, protocol::Outcome outcome) {
  Request* request = fragment->request;
  if (fragment->resolved) return;
  fragment->resolved = true;
  fragment->ordinary = outcome == protocol::Outcome::kNormal;
  const bool error =
      outcome == protocol::Outcome::kServerError || outcome == protocol::Outcome::kDesync;
  if (!error) {
    CountGets(pool, *fragment);
  } else if (request->split == nullptr && !request->done &&
             request->quiet != protocol::Quiet::kAll && !fragment->own) {
    CountError(pool, ErrorKind::kServer);
  }
  if (outcome == protocol::Outcome::kNominal && request->quiet == protocol::Quiet::kNominal) {
    fragment->reply.Clear(pool.worker().buffers());
  }
  OnPartResolved(request, false);
}

void FailPart(LocalPool& pool, Fragment* fragment, ErrorKind kind, std::string_view text) {
  Request* request = fragment->request;
  if (fragment->resolved) return;
  fragment->resolved = true;
  net::BufferPool& buffers = pool.worker().buffers();
  if (request->streaming && request->client != nullptr) {
    // Half of its reply is out; an error line in the middle of a value would be
    // taken for data.
    request->client->Abort();
    return;
  }
  fragment->reply.Clear(buffers);
  if (request->done) return;  // another part failed first
  if (request->trace != nullptr) request->trace->error = LabelOf(kind);
  const bool as_miss = request->is_read && pool.settings().miss_on_error;
  if (as_miss) {
    if (fragment->gets > 0) pool.cells()[PoolMetric::kGetMisses].Add(fragment->gets);
    if (request->split == nullptr) {
      fragment->reply.Append(buffers, pool.codec().Miss(request->reply_kind));
      fragment->ordinary = true;
    } else if (fragment->blocks != nullptr) {
      fragment->blocks->clear();
      fragment->blocks = nullptr;  // nor does what comes late belong to anybody
    }
    if (request->quiet == protocol::Quiet::kNominal) fragment->reply.Clear(buffers);
  } else {
    fragment->failed = true;
    if (request->quiet != protocol::Quiet::kAll && !fragment->own) {
      fragment->reply.AppendLast(buffers, pool.codec().Error(text));
      pool.cells()[PoolMetric::kForwardError].Add(1);
      CountError(pool, kind);
    }
  }
  OnPartResolved(request, !as_miss);
}

void RefuseRequest(LocalPool& pool, Request* request, const protocol::Command& command,
                   std::string_view reply) {
  Fragment* fragment = UseSingle(request, command);
  fragment->resolved = fragment->failed = true;
  fragment->reply.AppendLast(pool.worker().buffers(), reply);
  pool.cells()[PoolMetric::kForwardError].Add(1);
  CountError(pool, ErrorKind::kRefused);
  if (request->trace != nullptr) request->trace->error = LabelOf(ErrorKind::kRefused);
  OnPartResolved(request, true);
  ReleasePart(pool, fragment);
}

void RefuseOversized(LocalPool& pool, Request* request) {
  net::BufferPool& buffers = pool.worker().buffers();
  for (uint32_t i = 0; i < request->split->used; ++i) {
    Fragment& fragment = request->split->parts[i]->fragment;
    fragment.reply.Clear(buffers);
    fragment.failed = false;
  }
  Fragment& first = request->split->parts[0]->fragment;
  first.failed = true;  // whether or not its server has answered: it is what EmitSplit sends
  first.reply.AppendLast(buffers, pool.codec().Error(kTooLarge));
  pool.cells()[PoolMetric::kForwardError].Add(1);
  CountError(pool, ErrorKind::kRefused);
  if (request->trace != nullptr) request->trace->error = LabelOf(ErrorKind::kRefused);
  request->done = true;
}

void ReleasePart(LocalPool& pool, Fragment* fragment) {
  Request* request = fragment->request;
  assert(request->outstanding > 0);
  --request->outstanding;
  pool.worker().MaybeFree(request);
}

void EmitReply(LocalPool& pool, Request* request, net::ByteQueue* out) {
  if (request->quiet == protocol::Quiet::kAll) return;
  if (request->split != nullptr) {
    EmitSplit(pool, request->split.get(), out);
  } else {
    const Fragment& fragment = request->fragment;
    if (request->scan && !fragment.failed && fragment.ordinary) {
      out->Append(pool.worker().buffers(),
                  pool.codec().ScanBegin(request->scan_at, request->scan_servers,
                                         request->scan_check, fragment.expect.number));
    }
    out->Splice(pool.worker().buffers(), request->fragment.reply);
  }
}

void ClearRequest(net::BufferPool& buffers, Request* request) {
  request->fragment.reply.Clear(buffers);
  if (request->split == nullptr) return;
  for (uint32_t i = 0; i < request->split->used; ++i) {
    request->split->parts[i]->fragment.reply.Clear(buffers);
  }
}

}  // namespace cashew::proxy
