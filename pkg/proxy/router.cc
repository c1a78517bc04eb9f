#include "pkg/proxy/router.h"

#include <utility>

#include "pkg/pool/snapshot.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/local_pool.h"

namespace cashew::proxy {
namespace {

// The server of a key, or -1 when none is live. The arithmetic is pool::Route.
int32_t ServerOf(LocalPool& pool, std::string_view key) {
  const pool::Snapshot& snapshot = pool.snapshot();
  const uint32_t random = snapshot.ring().needs_random() ? pool.worker().Random() : 0;
  return pool::Route(snapshot, key, random);
}

void Send(LocalPool& pool, Fragment* fragment, int32_t server, uint32_t client_id,
          std::string_view head, std::string_view body, net::Chunk* chunk) {
  if (server < 0) {
    FailPart(pool, fragment, kNoServer);
    ReleasePart(pool, fragment);
    return;
  }
  pool.server(static_cast<uint32_t>(server)).Enqueue(fragment, client_id, head, body, chunk);
}

// Sends each part. The request is kept until the last one is out: a part that
// fails at once may answer it, and with nothing outstanding it would be freed.
template <typename SendPart>
void SendParts(LocalPool& pool, Request* request, SendPart send) {
  ++request->outstanding;
  for (uint32_t i = 0; i < request->split->used; ++i) send(*request->split->parts[i]);
  --request->outstanding;
  pool.worker().MaybeFree(request);
}

}  // namespace

void Forward(LocalPool& pool, Request* request, uint32_t client_id,
             const protocol::Command& command, net::Chunk* chunk) {
  Fragment* fragment = UseSingle(request, command);
  Send(pool, fragment, ServerOf(pool, command.key), client_id, command.head, command.body, chunk);
}

void ForwardSplit(LocalPool& pool, Request* request, uint32_t client_id,
                  const protocol::Command& command) {
  request->split = pool.worker().NewSplit();
  Split* split = request->split.get();
  for (const std::string_view key : command.keys) {
    const int32_t server = ServerOf(pool, key);
    if (server < 0) {  // then no key has one
      pool.worker().RecycleSplit(std::move(request->split));
      return Send(pool, UseSingle(request, command), server, client_id, {}, {}, nullptr);
    }
    split->part_of_key.push_back(static_cast<uint32_t>(server));
  }
  SplitByServer(pool, request, command);
  pool.cells()[metrics::PoolMetric::kFragments].Add(split->used);
  SendParts(pool, request, [&, first_key = size_t{0}](Split::Part& part) mutable {
    split->encoded.clear();
    pool.codec().EncodePart(command, {split->grouped_keys.data() + first_key, part.keys},
                            &split->encoded);
    first_key += part.keys;
    Send(pool, &part.fragment, static_cast<int32_t>(part.server), client_id, split->encoded, {},
         nullptr);
  });
}

void ForwardToAll(LocalPool& pool, Request* request, uint32_t client_id,
                  const protocol::Command& command) {
  request->split = pool.worker().NewSplit();
  SplitToAll(pool, request, command);
  SendParts(pool, request, [&](Split::Part& part) {
    Send(pool, &part.fragment, static_cast<int32_t>(part.server), client_id, command.head, {},
         nullptr);
  });
}

}  // namespace cashew::proxy
