#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"

#include "pkg/base/clock.h"
#include "pkg/base/mutex.h"
#include "pkg/net/crowd.h"

struct epoll_event;

namespace cashew::net {

class EventLoop;

// Something that lives in a loop: a connection, a listener. All calls come on the
// loop's thread.
class IoHandler {
 public:
  IoHandler() = default;
  IoHandler(const IoHandler&) = delete;
  IoHandler& operator=(const IoHandler&) = delete;
  virtual ~IoHandler() = default;

  // The descriptor became readable or writable (EPOLL* bits), or MarkReady() was
  // called in the round before (0 bits). Edge-triggered: what is not read now is
  // not announced again.
  virtual void OnReady(uint32_t events) = 0;
  // The end of a round in which MarkDirty() was called: write what was gathered.
  virtual void OnFlush() {}

 private:
  friend class EventLoop;
  bool ready_ = false;
  bool dirty_ = false;
  bool retired_ = false;
  Crowd::Mark mark_ = 0;
};

// Calls a function at a time, on the loop's thread. Owned by whoever needs it;
// destroying it cancels.
class Timer {
 public:
  Timer(EventLoop* loop, std::function<void()> action) : loop_(loop), action_(std::move(action)) {}
  ~Timer() { Cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Replaces an earlier setting. `at_ns` in the loop's clock.
  void SetAt(int64_t at_ns);
  void SetAfterMs(int64_t ms);
  void Cancel();
  bool armed() const { return index_ != kNone; }
  int64_t at_ns() const { return at_ns_; }

 private:
  friend class EventLoop;
  static constexpr size_t kNone = ~size_t{0};
  EventLoop* const loop_;
  const std::function<void()> action_;
  int64_t at_ns_ = 0;
  size_t index_ = kNone;
};

// One thread's loop over epoll. A round: wait; hand events to their handlers;
// messages from other threads; due timers; then every dirty handler flushes once,
// so that one write carries what many requests added. Descriptors are registered
// once, edge-triggered for both directions: no epoll_ctl per message.
class EventLoop {
 public:
  explicit EventLoop(const base::Clock& clock = base::RealClock());
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Registers `fd` until it is closed. `handler` stays alive until Retire().
  absl::Status Add(int fd, IoHandler* handler);
  // The same, readable only and level-triggered: for listeners and eventfds.
  absl::Status AddLevel(int fd, IoHandler* handler);
  // No more events of `fd`, which goes on living in another descriptor or process.
  void Forget(int fd);
  // Stops a level-triggered descriptor from waking the loop, and resumes it.
  void Suspend(int fd, IoHandler* handler);
  void Resume(int fd, IoHandler* handler);

  // OnReady(0) is called in the next round: for a handler that stopped before
  // its descriptor was drained.
  void MarkReady(IoHandler* handler);
  // OnFlush() is called at the end of this round.
  void MarkDirty(IoHandler* handler);
  // No more calls to `handler`; it is deleted after this round, when nothing on
  // the stack or among the pending events can point to it.
  void Retire(IoHandler* handler, std::function<void(IoHandler*)> deleter = nullptr);

  // Runs `message` on the loop's thread, between two rounds. Any thread. What is
  // posted after the loop ended is destroyed with the loop.
  void Post(std::function<void()> message);

  // Runs until Stop(). Stop: any thread.
  void Run();
  void Stop();
  // One round; waits at most `max_wait_ms` (-1: until something happens).
  void RunOnce(int max_wait_ms);

  // The clock as it was when the wait ended. One reading serves a whole round.
  int64_t now_ns() const { return now_ns_; }
  uint64_t rounds() const { return rounds_; }
  const base::Clock& clock() const { return clock_; }
  bool InLoopThread() const { return thread_ == std::this_thread::get_id(); }
  // Gives back what the lists of a crowd of handlers took. Not from within OnReady or
  // OnFlush.
  void ShrinkLists();
  // Called once a round, after the flush.
  void set_end_of_round(std::function<void()> action) { end_of_round_ = std::move(action); }

 private:
  friend class Timer;
  struct Retired {
    IoHandler* handler;
    std::function<void(IoHandler*)> deleter;
  };

  int WaitMs(int max_wait_ms) const;
  int Wait(epoll_event* events, int wait_ms);
  void DeliverMessages();
  void RunTimers();
  void FlushDirty();
  void DeleteRetired();
  // The heap of timers, soonest first.
  void Place(Timer* timer, size_t index);
  void SiftUp(size_t index);
  void SiftDown(size_t index);
  void Insert(Timer* timer);
  void Remove(Timer* timer);

  const base::Clock& clock_;
  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  int64_t now_ns_ = 0;
  uint64_t rounds_ = 0;
  Crowd crowd_;
  std::thread::id thread_;
  std::atomic<bool> stop_{false};
  std::vector<IoHandler*> ready_;
  std::vector<IoHandler*> ready_now_;
  std::vector<IoHandler*> dirty_;
  std::vector<Retired> retired_;
  std::vector<Timer*> timers_;
  std::function<void()> end_of_round_;

  base::Mutex mu_;
  std::vector<std::function<void()>> messages_ CASHEW_GUARDED_BY(mu_);
  bool awake_ CASHEW_GUARDED_BY(mu_) = false;  // a wake-up is under way
};

}  // namespace cashew::net
