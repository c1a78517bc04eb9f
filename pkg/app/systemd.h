#pragma once

#include <string>
#include <vector>

namespace cashew::app {

// The service manager's protocol, as sd_notify(3) and sd_listen_fds(3) document it. Nothing
// happens where there is no service manager.

// Sends "READY=1" and the like, several separated by newlines.
void NotifyServiceManager(const std::string& state);
// CLOCK_MONOTONIC in microseconds, which RELOADING=1 must be sent with.
std::string MonotonicUsec();

// The sockets that were opened for this process, if any. Call once, before threads start; the
// environment variables are taken away, so that a child does not think they are for it.
std::vector<int> TakeActivationSockets();

}  // namespace cashew::app
