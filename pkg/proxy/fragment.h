#pragma once

#include <string_view>

#include "pkg/proxy/request.h"

// Splitting a request into fragments, and merging what comes back.

namespace cashew::proxy {

class LocalPool;

// nutcracker's text when every server is out (it is the one for ECONNREFUSED).
inline constexpr std::string_view kNoServer = "Connection refused";
// A `membership: grpc` pool before its first list.
inline constexpr std::string_view kNoServersYet =
    "the pool has no servers yet: it waits for a list through gRPC";

// Makes a request of one fragment.
Fragment* UseSingle(Request* request, const protocol::Command& command);

// Makes a request of one fragment for each server that holds some of the keys.
// REQUIRES: request->split->part_of_key names the server of each key; afterwards it
// names the part.
void SplitByServer(LocalPool& pool, Request* request, const protocol::Command& command);

// Makes a request of one fragment for each server of the pool.
void SplitToAll(LocalPool& pool, Request* request, const protocol::Command& command);

// False when nobody waits for the fragment's reply: it is discarded as it comes.
bool Wanted(const Fragment& fragment);

// The fragment's whole reply is in fragment->reply, or already with its client.
// The client is answered if this was what it waited for.
void FinishPart(LocalPool& pool, Fragment* fragment, protocol::Outcome outcome);

// The fragment will not be answered by its server. One failed part answers the
// whole request, at once. `text` as in nutcracker's errors.
void FailPart(LocalPool& pool, Fragment* fragment, metrics::ErrorKind kind, std::string_view text);

// The request is answered with `reply`, an error as the client will see it, instead of
// being sent. REQUIRES: it has no fragments yet.
void RefuseRequest(LocalPool& pool, Request* request, const protocol::Command& command,
                   std::string_view reply);

// A split request whose replies are more than may be held is answered with an error; what comes of
// them later is discarded. REQUIRES: it has a client and is not done.
void RefuseOversized(LocalPool& pool, Request* request);

// The fragment has left its server's queue. It may be gone when this returns.
void ReleasePart(LocalPool& pool, Fragment* fragment);

// Writes a request's reply: merged in the order of its keys if it was split.
// REQUIRES: request->done.
void EmitReply(LocalPool& pool, Request* request, net::ByteQueue* out);

// Drops everything a request holds, its Split excepted.
void ClearRequest(net::BufferPool& buffers, Request* request);

}  // namespace cashew::proxy
