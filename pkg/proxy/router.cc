#include "pkg/proxy/router.h"

#include <utility>

#include "pkg/pool/snapshot.h"
#include "pkg/proxy/client_session.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/local_pool.h"
#include "pkg/proxy/server_session.h"

namespace cashew::proxy {
namespace {

// The server of a key, or -1 when none is live. The arithmetic is pool::Route.
int32_t ServerOf(LocalPool& pool, std::string_view key) {
  const pool::Snapshot& snapshot = pool.snapshot();
  const uint32_t random = snapshot.ring().needs_random() ? pool.worker().Random() : 0;
  return pool::Route(snapshot, key, random);
}

void Send(LocalPool& pool, Fragment* fragment, int32_t server, uint32_t client_id, uint8_t group,
          std::string_view head, std::string_view body, net::Chunk* chunk) {
  if (server < 0) {
    FailPart(pool, fragment, metrics::ErrorKind::kNoServer,
             pool.server_count() == 0 ? kNoServersYet : kNoServer);
    ReleasePart(pool, fragment);
    return;
  }
  pool.server(static_cast<uint32_t>(server)).Enqueue(fragment, client_id, group, head, body, chunk);
}

// The server that all keys of a request share; kSeveral when they do not.
constexpr int32_t kSeveral = -2;
int32_t SharedServer(LocalPool& pool, const protocol::Command& command) {
  const int32_t server = ServerOf(pool, command.key);
  // With one server, or none, there is nothing to differ.
  if (command.keys.size() < 2 || server < 0 || pool.server_count() == 1) return server;
  for (const std::string_view key : command.keys) {
    if (ServerOf(pool, key) != server) return kSeveral;
  }
  return server;
}

// A request that needs a server connection of its client's own.
void ForwardOnOwn(LocalPool& pool, Request* request, const protocol::Command& command,
                  LocalServer* server, net::Chunk* chunk) {
  std::string problem;
  ServerSession* session = request->client->OwnConnection(server, request, command, &problem);
  if (session == nullptr) return RefuseRequest(pool, request, command, problem);
  LocalServer& its = session->server();
  const bool last = command.lease != protocol::Lease::kBegin;
  its.EnqueueOn(*session, UseSingle(request, command), command.head, command.body, chunk);
  // What cleans it up follows at once; when that is answered it is free for the next.
  if (last) its.Return(session);
}

// One step of a walk over all servers, in the order of their index. Its cursors hold for
// the list of servers that it began with.
void ForwardScan(LocalPool& pool, Request* request, uint32_t client_id,
                 const protocol::Command& command) {
  const uint32_t check = pool.codec().ScanCheck(pool.snapshot().membership_checksum());
  const bool begins = command.scan_check == 0;
  if (command.scan_at >= pool.server_count() || (!begins && command.scan_check != check)) {
    return RefuseRequest(pool, request, command,
                         pool.codec().Error("the pool's servers changed since this cursor was "
                                            "given, or it is none; begin again with 0"));
  }
  request->scan = true;
  request->scan_at = command.scan_at;
  request->scan_servers = static_cast<uint32_t>(pool.server_count());
  request->scan_check = check;
  Send(pool, UseSingle(request, command), static_cast<int32_t>(command.scan_at), client_id,
       command.group, command.head, {}, nullptr);
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
  if (command.scan) return ForwardScan(pool, request, client_id, command);
  const int32_t server = SharedServer(pool, command);
  if (server == kSeveral) return RefuseRequest(pool, request, command, pool.codec().CrossServer());
  LocalServer* const local = server < 0 ? nullptr : &pool.server(static_cast<uint32_t>(server));
  const bool own = command.lease != protocol::Lease::kShared &&
                   (local != nullptr || command.lease == protocol::Lease::kEnd);
  if (own) return ForwardOnOwn(pool, request, command, local, chunk);
  Send(pool, UseSingle(request, command), server, client_id, command.group, command.head,
       command.body, chunk);
}

void ForwardSplit(LocalPool& pool, Request* request, uint32_t client_id,
                  const protocol::Command& command) {
  request->split = pool.worker().NewSplit();
  Split* split = request->split.get();
  for (const std::string_view key : command.keys) {
    const int32_t server = ServerOf(pool, key);
    if (server < 0) {  // then no key has one
      pool.worker().RecycleSplit(std::move(request->split));
      return Send(pool, UseSingle(request, command), server, client_id, 0, {}, {}, nullptr);
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
    Send(pool, &part.fragment, static_cast<int32_t>(part.server), client_id, command.group,
         split->encoded, {}, nullptr);
  });
}

void ForwardToAll(LocalPool& pool, Request* request, uint32_t client_id,
                  const protocol::Command& command) {
  if (pool.server_count() == 0) {
    return Send(pool, UseSingle(request, command), -1, client_id, 0, {}, {}, nullptr);
  }
  request->split = pool.worker().NewSplit();
  SplitToAll(pool, request, command);
  SendParts(pool, request, [&](Split::Part& part) {
    Send(pool, &part.fragment, static_cast<int32_t>(part.server), client_id, command.group,
         command.head, command.body, nullptr);
  });
}

}  // namespace cashew::proxy
