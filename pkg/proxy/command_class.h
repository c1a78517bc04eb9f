#pragma once

#include "pkg/metrics/cells.h"
#include "pkg/protocol/codec.h"

namespace cashew::proxy {

// How a request is counted; the classes are rows of pkg/metrics/table.h.
inline metrics::CommandClass ClassOf(const protocol::Command& command) {
  using metrics::CommandClass;
  using protocol::Action;
  using protocol::Lease;
  switch (command.action) {
    case Action::kForward:
      if (command.lease == Lease::kOnce) return CommandClass::kBlocking;
      // One that waits for replies to pass over first is a queued transaction.
      if (command.lease != Lease::kShared || command.interim > 0) return CommandClass::kTransaction;
      if (command.gets == 1) return CommandClass::kGet;
      if (command.gets > 1) return CommandClass::kMultiGet;
      return command.is_read ? CommandClass::kRead : CommandClass::kWrite;
    case Action::kSplit:
      if (command.gets > 0) return CommandClass::kMultiGet;
      return command.is_read ? CommandClass::kRead : CommandClass::kMultiWrite;
    case Action::kBroadcast:
      return CommandClass::kBroadcast;
    case Action::kAnswer:
    case Action::kStats:
    case Action::kQuit:
      break;
  }
  return CommandClass::kLocal;
}

}  // namespace cashew::proxy
