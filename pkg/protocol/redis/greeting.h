#pragma once

#include <memory>

#include "pkg/protocol/codec.h"

namespace cashew::protocol::redis {

// AUTH (or HELLO 3 with it), then SELECT, before any request: a request must neither meet
// a server that does not know us nor land in the wrong database.
//
// A server that has no password takes a pool with one all the same (a warning): so it was
// with nutcracker, whose redis_auth is also what clients must say. Strict pools take any
// refusal of the password: the server's own error then reaches clients.
std::unique_ptr<Greeting> NewRedisGreeting(const Codec::Limits& limits, bool resp3);

}  // namespace cashew::protocol::redis
