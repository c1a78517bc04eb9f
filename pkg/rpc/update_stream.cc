#include "pkg/rpc/update_stream.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/rpc/convert.h"
#include "pkg/rpc/status.h"

namespace cashew::rpc {

UpdateStream* UpdateStream::Start(Backend* backend, LongCalls* calls) {
  auto stream = std::make_shared<UpdateStream>(backend, calls);
  stream->self_ = stream;
  if (absl::Status admitted = calls->Admit(stream); !admitted.ok()) {
    stream->End(admitted);
    return stream.get();
  }
  stream->Open();
  base::MutexLock lock(&stream->mu_);
  stream->ReadMore();
  return stream.get();
}

void UpdateStream::Open() {
  const uint64_t id = backend_->OpenStream([weak = weak_from_this()](absl::Status status) {
    if (auto stream = weak.lock()) stream->End(status);
  });
  {
    base::MutexLock lock(&mu_);
    id_ = id;
    if (!close_) return;
  }
  backend_->CloseStream(id);  // it ended before it was known here
}

void UpdateStream::CloseOnce() {
  std::optional<uint64_t> id;
  {
    base::MutexLock lock(&mu_);
    if (std::exchange(close_, true)) return;
    id = id_;
  }
  if (id) backend_->CloseStream(*id);
}

void UpdateStream::End(const absl::Status& status) {
  {
    base::MutexLock lock(&mu_);
    if (std::exchange(ended_, true)) return;
    slots_.clear();
  }
  CloseOnce();
  Finish(ToGrpc(status));
}

void UpdateStream::OnCancel() { End(absl::CancelledError("the stream was cancelled")); }

void UpdateStream::OnDone() {
  CloseOnce();
  calls_->Remove(this);
  std::exchange(self_, nullptr);  // the last reference, but for callbacks to come
}

// ---- requests in ------------------------------------------------------------

void UpdateStream::ReadMore() {
  if (ended_ || reading_ || read_all_ || slots_.size() + writing_ >= kMaxInFlight) return;
  reading_ = true;
  request_ = Request();  // a list of 4 MiB is not kept for the next, which may be small
  StartRead(&request_);
}

void UpdateStream::OnReadDone(bool ok) {
  Request request;
  bool drained = false;
  {
    base::MutexLock lock(&mu_);
    read_all_ = !ok;
    drained = Drained();
    if (ended_) return;
    request = std::move(request_);
  }
  if (!ok) {
    if (drained) End(absl::OkStatus());
    return;
  }
  if (absl::Status status = CheckRequest(request); !status.ok()) return End(status);
  Submit(std::move(request));
  // Not before, whoever asks (an answer that was written does): with two lists on their way to
  // the backend at a time the older could come last, and be what the pool runs.
  base::MutexLock lock(&mu_);
  reading_ = false;
  ReadMore();
}

// What makes the whole stream wrong, rather than one list.
absl::Status UpdateStream::CheckRequest(const Request& request) {
  if (request.updater().empty()) {
    return BadRequest({{"updater", "is missing; say who updates, the same in every request"}});
  }
  if (absl::Status status = CheckWord("updater", request.updater()); !status.ok()) return status;
  if (absl::Status status = CheckWord("pool", request.pool()); !status.ok()) return status;
  if (updater_.empty()) updater_ = request.updater();
  if (request.updater() == updater_) return absl::OkStatus();
  return BadRequest(
      {{"updater", fmt::format("\"{}\" was \"{}\" before; one stream has one updater",
                               base::Escape(request.updater(), 80), base::Escape(updater_, 80))}});
}

void UpdateStream::Submit(Request request) {
  const uint64_t ticket = AddSlot(request);
  absl::Status status = CheckWord("source_version", request.source_version());
  absl::StatusOr<std::vector<pool::ServerSpec>> servers = ParseServers(request.servers());
  if (status.ok()) status = servers.status();
  if (!status.ok()) {
    backend_->OnMalformed(request.pool(), status);
    return Answer(ticket, status);
  }
  uint64_t id;
  {
    base::MutexLock lock(&mu_);
    id = *id_;
  }
  backend_->Update(
      id, {request.pool(), *std::move(servers), request.updater(), request.source_version()},
      [self = shared_from_this(), ticket](absl::StatusOr<pool::Applied> result) {
        self->Answer(ticket, result);
      });
}

uint64_t UpdateStream::AddSlot(const Request& request) {
  base::MutexLock lock(&mu_);
  const uint64_t ticket = next_ticket_++;
  slots_.push_back({ticket, request.pool(), request.nonce(), std::nullopt});
  return ticket;
}

// ---- responses out ----------------------------------------------------------

void UpdateStream::Answer(uint64_t ticket, const absl::StatusOr<pool::Applied>& result) {
  const auto find = [&] {
    return std::find_if(slots_.begin(), slots_.end(),
                        [&](const Slot& slot) { return slot.ticket == ticket; });
  };
  Slot slot;
  {
    base::MutexLock lock(&mu_);
    const auto found = find();
    if (found == slots_.end()) return;  // the stream has ended
    slot = *found;
  }
  Response response = MakeResponse(slot, result);  // asks the backend
  base::MutexLock lock(&mu_);
  const auto found = find();
  if (found == slots_.end() || found->response) return;
  found->response = std::move(response);
  WriteMore();
}

UpdateStream::Response UpdateStream::MakeResponse(
    const Slot& slot, const absl::StatusOr<pool::Applied>& result) const {
  Response response;
  response.set_pool(slot.pool);
  response.set_nonce(slot.nonce);
  if (result.ok()) {
    response.set_version(result->version);
    response.set_membership_checksum(result->membership_checksum);
    return response;
  }
  response.mutable_error()->set_code(static_cast<int>(result.status().code()));
  response.mutable_error()->set_message(ToText(std::string(result.status().message())));
  if (const auto view = backend_->Pool(slot.pool)) {
    response.set_version(view->version);
    response.set_membership_checksum(view->membership_checksum);
  }
  return response;
}

// The first response whose pool has no earlier one to come.
std::deque<UpdateStream::Slot>::iterator UpdateStream::FirstWritable() {
  for (auto slot = slots_.begin(); slot != slots_.end(); ++slot) {
    const auto same_pool = [&](const Slot& earlier) { return earlier.pool == slot->pool; };
    if (slot->response && std::none_of(slots_.begin(), slot, same_pool)) return slot;
  }
  return slots_.end();
}

void UpdateStream::WriteMore() {
  if (ended_ || writing_) return;
  const auto slot = FirstWritable();
  if (slot == slots_.end()) return;
  writing_ = true;
  response_ = *std::move(slot->response);
  slots_.erase(slot);
  StartWrite(&response_);
}

bool UpdateStream::Drained() const { return read_all_ && !writing_ && slots_.empty(); }

void UpdateStream::OnWriteDone(bool ok) {
  bool drained = false;
  {
    base::MutexLock lock(&mu_);
    writing_ = false;
    if (ok) {
      WriteMore();
      ReadMore();
    }
    drained = Drained();
  }
  if (!ok) return End(absl::CancelledError("the stream broke"));
  if (drained) End(absl::OkStatus());
}

}  // namespace cashew::rpc
