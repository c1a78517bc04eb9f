#include "pkg/net/event_loop.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

namespace cashew::net {
namespace {

// Large: a round that sees all that is ready writes least often.
constexpr int kMaxEvents = 1024;
// Fewer events than this are worth a moment's patience.
constexpr int kFewEvents = 8;
constexpr timespec kNap{0, 50'000};

}  // namespace

void Timer::SetAt(int64_t at_ns) {
  if (armed()) loop_->Remove(this);
  at_ns_ = at_ns;
  loop_->Insert(this);
}

void Timer::SetAfterMs(int64_t ms) { SetAt(loop_->clock().NowNs() + ms * base::kNsPerMs); }

void Timer::Cancel() {
  if (armed()) loop_->Remove(this);
}

EventLoop::EventLoop(const base::Clock& clock) : clock_(clock), now_ns_(clock.NowNs()) {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // stands for the mailbox
  epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event);
}

EventLoop::~EventLoop() {
  DeleteRetired();
  close(wake_fd_);
  close(epoll_fd_);
}

namespace {

absl::Status Register(int epoll_fd, int fd, uint32_t events, IoHandler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return absl::InternalError(fmt::format("epoll_ctl: {}", strerror(errno)));
}

}  // namespace

absl::Status EventLoop::Add(int fd, IoHandler* handler) {
  return Register(epoll_fd_, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, handler);
}

absl::Status EventLoop::AddLevel(int fd, IoHandler* handler) {
  return Register(epoll_fd_, fd, EPOLLIN, handler);
}

void EventLoop::Forget(int fd) { epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr); }

void EventLoop::Suspend(int fd, IoHandler* handler) {
  epoll_event event{};
  event.data.ptr = handler;
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::Resume(int fd, IoHandler* handler) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = handler;
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::MarkReady(IoHandler* handler) {
  if (handler->ready_ || handler->retired_) return;
  handler->ready_ = true;
  ready_.push_back(handler);
}

void EventLoop::MarkDirty(IoHandler* handler) {
  if (handler->dirty_ || handler->retired_) return;
  handler->dirty_ = true;
  dirty_.push_back(handler);
}

void EventLoop::Retire(IoHandler* handler, std::function<void(IoHandler*)> deleter) {
  if (handler->retired_) return;
  handler->retired_ = true;
  retired_.push_back({handler, std::move(deleter)});
}

void EventLoop::Post(std::function<void()> message) {
  {
    base::MutexLock lock(&mu_);
    messages_.push_back(std::move(message));
    if (awake_) return;
    awake_ = true;
  }
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the loop is awake anyway.
  [[maybe_unused]] const ssize_t n = write(wake_fd_, &one, sizeof one);
}

void EventLoop::Run() {
  prctl(PR_SET_TIMERSLACK, 1);  // or the kernel would round a nap up to 80 us
  while (!stop_.load(std::memory_order_acquire)) RunOnce(-1);
}

void EventLoop::Stop() {
  stop_.store(true, std::memory_order_release);
  Post([] {});
}

int EventLoop::WaitMs(int max_wait_ms) const {
  if (!ready_.empty() || !dirty_.empty()) return 0;
  if (timers_.empty()) return max_wait_ms;
  const int64_t left_ns = timers_.front()->at_ns_ - clock_.NowNs();
  if (left_ns <= 0) return 0;
  const auto left_ms =
      static_cast<int>(std::min<int64_t>((left_ns + base::kNsPerMs - 1) / base::kNsPerMs, 60'000));
  return max_wait_ms < 0 ? left_ms : std::min(left_ms, max_wait_ms);
}

// What a round costs hardly depends on how much it finds. So when it finds little, whoever
// else wants this core goes first: peers and servers that were just woken then send more. On
// a core that nobody else wants, the yield returns at once; then, if a crowd is busy, a nap
// lets them gather. It sleeps only when there is nothing at all.
int EventLoop::Wait(epoll_event* events, int wait_ms) {
  int n = epoll_wait(epoll_fd_, events, kMaxEvents, 0);
  if (wait_ms == 0 || n < 0 || n >= kFewEvents) return n;
  if (n == 0) {
    n = epoll_wait(epoll_fd_, events, kMaxEvents, wait_ms);
    if (n <= 0 || !crowd_.busy()) return n;
  }
  if (crowd_.busy()) {
    nanosleep(&kNap, nullptr);
  } else {
    sched_yield();
  }
  const int more = epoll_wait(epoll_fd_, events + n, kMaxEvents - n, 0);
  return more > 0 ? n + more : n;
}

void EventLoop::RunOnce(int max_wait_ms) {
  thread_ = std::this_thread::get_id();
  epoll_event events[kMaxEvents];
  const int n = Wait(events, WaitMs(max_wait_ms));
  now_ns_ = clock_.NowNs();
  ++rounds_;
  bool mail = false;
  ready_now_.swap(ready_);
  for (int i = 0; i < n; ++i) {
    // Among hundreds of clients the next one's memory is far away: ask for it now.
    __builtin_prefetch(events[std::min(i + 2, n - 1)].data.ptr);
    auto* handler = static_cast<IoHandler*>(events[i].data.ptr);
    if (handler == nullptr) {
      mail = true;
    } else if (!handler->retired_) {
      crowd_.Count(&handler->mark_);
      handler->OnReady(events[i].events);
    }
  }
  for (IoHandler* handler : ready_now_) {
    handler->ready_ = false;
    if (!handler->retired_) handler->OnReady(0);
  }
  ready_now_.clear();
  if (mail) DeliverMessages();
  RunTimers();
  FlushDirty();
  crowd_.EndRound(now_ns_);
  if (end_of_round_) end_of_round_();
  DeleteRetired();
}

void EventLoop::DeliverMessages() {
  uint64_t count;
  [[maybe_unused]] const ssize_t n = read(wake_fd_, &count, sizeof count);
  std::vector<std::function<void()>> messages;
  {
    base::MutexLock lock(&mu_);
    messages.swap(messages_);
    awake_ = false;
  }
  for (auto& message : messages) message();
}

void EventLoop::RunTimers() {
  while (!timers_.empty() && timers_.front()->at_ns_ <= now_ns_) {
    Timer* timer = timers_.front();
    Remove(timer);
    timer->action_();
  }
}

// A flush that fails may make others dirty (error replies): they are flushed in
// the same round.
void EventLoop::FlushDirty() {
  for (size_t i = 0; i < dirty_.size(); ++i) {
    IoHandler* handler = dirty_[i];
    handler->dirty_ = false;
    if (!handler->retired_) handler->OnFlush();
  }
  dirty_.clear();
}

void EventLoop::DeleteRetired() {
  while (!retired_.empty()) {
    std::vector<Retired> gone;
    gone.swap(retired_);
    for (Retired& r : gone) {
      // Whatever a retired handler was marked for must forget it.
      if (r.handler->ready_) ready_.erase(std::find(ready_.begin(), ready_.end(), r.handler));
      if (r.handler->dirty_) dirty_.erase(std::find(dirty_.begin(), dirty_.end(), r.handler));
      if (r.deleter) {
        r.deleter(r.handler);
      } else {
        delete r.handler;
      }
    }
  }
}

void EventLoop::ShrinkLists() {
  for (auto* list : {&ready_, &ready_now_, &dirty_}) list->shrink_to_fit();
}

void EventLoop::Place(Timer* timer, size_t index) {
  timers_[index] = timer;
  timer->index_ = index;
}

void EventLoop::SiftUp(size_t index) {
  Timer* timer = timers_[index];
  while (index > 0) {
    const size_t parent = (index - 1) / 2;
    if (timers_[parent]->at_ns_ <= timer->at_ns_) break;
    Place(timers_[parent], index);
    index = parent;
  }
  Place(timer, index);
}

void EventLoop::SiftDown(size_t index) {
  Timer* timer = timers_[index];
  for (;;) {
    size_t child = 2 * index + 1;
    if (child >= timers_.size()) break;
    if (child + 1 < timers_.size() && timers_[child + 1]->at_ns_ < timers_[child]->at_ns_) ++child;
    if (timers_[child]->at_ns_ >= timer->at_ns_) break;
    Place(timers_[child], index);
    index = child;
  }
  Place(timer, index);
}

void EventLoop::Insert(Timer* timer) {
  timers_.push_back(timer);
  SiftUp(timers_.size() - 1);
}

void EventLoop::Remove(Timer* timer) {
  const size_t index = timer->index_;
  Timer* last = timers_.back();
  timers_.pop_back();
  timer->index_ = Timer::kNone;
  if (last == timer) return;
  Place(last, index);
  SiftUp(index);
  SiftDown(last->index_);
}

}  // namespace cashew::net
