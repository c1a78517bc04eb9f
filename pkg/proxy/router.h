#pragma once

#include <string_view>

#include "pkg/proxy/request.h"

namespace cashew::net {
struct Chunk;
}

namespace cashew::proxy {

class LocalPool;

// Sends a request to where its key lives: key → hash tag → hash → ring → server.
// `chunk` holds the command's body, or is null. If no server is live the request
// is answered with an error at once.
void Forward(LocalPool& pool, Request* request, uint32_t client_id,
             const protocol::Command& command, net::Chunk* chunk);

// The same for a request of several keys: one fragment for each server involved.
void ForwardSplit(LocalPool& pool, Request* request, uint32_t client_id,
                  const protocol::Command& command);

// To every server of the pool.
void ForwardToAll(LocalPool& pool, Request* request, uint32_t client_id,
                  const protocol::Command& command);

}  // namespace cashew::proxy
