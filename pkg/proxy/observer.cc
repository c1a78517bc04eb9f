#include "pkg/proxy/observer.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "pkg/base/log.h"
#include "pkg/proxy/local_pool.h"
#include "pkg/proxy/slow_log.h"
#include "pkg/proxy/trace.h"
#include "pkg/proxy/worker.h"

namespace cashew::proxy {
namespace {

using protocol::Action;

bool HasKeys(const protocol::Command& command) {
  const bool routed = command.action == Action::kForward || command.action == Action::kSplit;
  return routed && !command.scan && command.key.data() != protocol::kPlaceholder.data();
}

bool HasServerError(const Request& request) {
  if (request.split == nullptr) return !request.fragment.ordinary;
  return std::any_of(request.split->parts.begin(),
                     request.split->parts.begin() + request.split->used,
                     [](const auto& part) { return !part->fragment.ordinary; });
}

std::string_view OutcomeOf(const Request& request, bool client_left) {
  if (client_left) return "client_left";
  if (!request.trace->error.empty()) return request.trace->error;
  return HasServerError(request) ? LabelOf(metrics::ErrorKind::kServer) : "ok";
}

// The first part that is still under way: what a client that left waited for. Null when all
// have been answered.
const Split::Part* PartUnderWay(const Split& split) {
  const auto end = split.parts.begin() + split.used;
  const auto found = std::find_if(split.parts.begin(), end,
                                  [](const auto& part) { return !part->fragment.resolved; });
  return found == end ? nullptr : found->get();
}

}  // namespace

Observer::Observer(LocalPool* pool) : pool_(pool), worker_(pool->worker()) {}

Observer::~Observer() { StopHotKeys(); }

void Observer::Adopt(const pool::Settings& settings) {
  if (settings.hot_keys_sample != hot_.sample()) hot_ = Sampler(settings.hot_keys_sample);
  if (settings.access_log_sample != access_.sample()) {
    access_ = Sampler(settings.access_log_sample);
  }
  slow_ns_ = settings.slow_log_ms * base::kNsPerMs;
  if (hot_.on()) {
    StartHotKeys();
  } else {
    StopHotKeys();
  }
}

void Observer::StartHotKeys() {
  if (hot_keys_ != nullptr) return;
  static_assert(alignof(HotKeys) <= alignof(net::Chunk*) && sizeof(net::Chunk) % 8 == 0);
  hot_keys_memory_ = worker_.buffers().NewChunk(sizeof(HotKeys));
  hot_keys_ = new (hot_keys_memory_->data()) HotKeys(worker_.loop().now_ns());
}

void Observer::StopHotKeys() {
  if (hot_keys_ == nullptr) return;
  std::destroy_at(std::exchange(hot_keys_, nullptr));
  worker_.buffers().Unref(std::exchange(hot_keys_memory_, nullptr));
}

void Observer::OnRequest(Request* request, const protocol::Command& command) {
  if (hot_.on() && HasKeys(command)) CountKeys(command);
  bool access = false;
  if (access_.on()) {
    access_.Pass(
        1, [this] { return worker_.Random(); }, [&access](size_t) { access = true; });
  }
  if (!access && slow_ns_ == 0) return;
  Begin(request, command);
  request->trace->access = access;
}

void Observer::CountKeys(const protocol::Command& command) {
  const bool several = !command.keys.empty();
  hot_.Pass(
      several ? command.keys.size() : 1, [this] { return worker_.Random(); },
      [&](size_t i) {
        hot_keys_->Add(several ? command.keys[i] : command.key, worker_.loop().now_ns());
      });
}

void Observer::Begin(Request* request, const protocol::Command& command) {
  Trace* trace = worker_.NewTrace();
  request->trace = trace;
  trace->snapshot = &pool_->snapshot();
  const std::string_view word =
      pool_->codec().CommandWord(message_).substr(0, trace->command.size());
  trace->command_bytes = static_cast<uint8_t>(word.size());
  memcpy(trace->command.data(), word.data(), word.size());
  trace->request_bytes = message_.size();
  if (command.action == Action::kAnswer && pool_->codec().IsError(command.answer)) {
    trace->error = LabelOf(metrics::ErrorKind::kRequest);
  }
  if (!HasKeys(command)) return;
  const std::string_view key = command.keys.empty() ? command.key : command.keys[0];
  trace->keys = static_cast<uint32_t>(std::max<size_t>(1, command.keys.size()));
  trace->key_bytes = static_cast<uint32_t>(key.size());
  trace->key_kept = static_cast<uint8_t>(std::min(key.size(), trace->key.size()));
  memcpy(trace->key.data(), key.data(), trace->key_kept);
}

// The client of a request that is under way left: the part that it waited for ends here.
void Observer::TraceUnderWay(const Request& request) const {
  const bool asked = request.trace->server != nullptr;
  if (!asked || request.done) return;
  if (request.split == nullptr) {
    return TracePart(request.fragment, request.trace->server, worker_.loop().now_ns());
  }
  const Split::Part* part = PartUnderWay(*request.split);
  if (part == nullptr) return;
  // The part knows its server by the index in the list that it was routed by.
  const bool same = request.trace->snapshot == &pool_->snapshot();
  static const auto* const unknown = new std::shared_ptr<const std::string>(new std::string);
  TracePart(part->fragment,
            same && part->server < pool_->server_count() ? pool_->server(part->server).shared_name()
                                                         : *unknown,
            worker_.loop().now_ns());
}

pool::SlowRequest Observer::Describe(const Request& request, bool client_left) const {
  const Trace& trace = *request.trace;
  const int64_t now_ns = worker_.loop().now_ns();
  // With no server asked, all of it was waiting.
  const int64_t left_ns = trace.left_ns != 0 ? trace.left_ns : request.began_ns;
  const int64_t sent_ns = trace.sent ? trace.sent_ns : left_ns;
  pool::SlowRequest slow;
  slow.pool = pool_->name();
  slow.server = trace.server != nullptr ? *trace.server : "";
  slow.command.assign(trace.command.data(), trace.command_bytes);
  slow.key = pool::ShownKey({trace.key.data(), trace.key_kept}, trace.key_bytes);
  slow.keys = trace.keys;
  slow.parts = request.split != nullptr ? request.split->used : trace.server != nullptr ? 1 : 0;
  slow.queued_ns = sent_ns - request.began_ns;
  slow.server_ns = left_ns - sent_ns;
  slow.held_ns = now_ns - left_ns;
  slow.total_ns = now_ns - request.began_ns;
  slow.request_bytes = trace.request_bytes;
  slow.reply_bytes = trace.reply_bytes;
  slow.outcome = OutcomeOf(request, client_left);
  return slow;
}

void Observer::OnEnd(Request* request, bool client_left) {
  const bool is_slow = slow_ns_ > 0 && worker_.loop().now_ns() - request->began_ns >= slow_ns_;
  if (!is_slow && !request->trace->access) return;
  if (client_left) TraceUnderWay(*request);
  pool::SlowRequest seen = Describe(*request, client_left);
  if (request->trace->access) {
    CASHEW_LOG_EACH(kNotice,
                    "access pool={} server={} command={} key=\"{}\" request_bytes={} "
                    "reply_bytes={} total_us={} outcome={}",
                    seen.pool, seen.server, seen.command, seen.key, seen.request_bytes,
                    seen.reply_bytes, seen.total_ns / 1000, seen.outcome);
  }
  if (!is_slow) return;
  seen.at_us = worker_.services().clock->WallUs();
  worker_.slow_log().Add(std::move(seen));
}

pool::HotKeys Observer::ReadHotKeys() {
  if (hot_keys_ == nullptr) return {};
  pool::HotKeys seen = hot_keys_->Read(worker_.loop().now_ns());
  seen.sample = hot_.sample();
  return seen;
}

void TracePart(const Fragment& fragment, const std::shared_ptr<const std::string>& server,
               int64_t now_ns) {
  Trace& trace = *fragment.request->trace;
  trace.server = server;
  trace.sent = fragment.written;
  trace.sent_ns = fragment.sent_ns;
  trace.left_ns = now_ns;
}

}  // namespace cashew::proxy
