#include "pkg/net/event_loop.h"

#include <atomic>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cashew::net {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kMs = base::kNsPerMs;

// Two ends of a connection.
struct Pair {
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0); }
  ~Pair() {
    for (const int f : fd) {
      if (f >= 0) close(f);
    }
  }
  void Send(std::string_view text) const {
    EXPECT_EQ(write(fd[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::string Drain() const {
    char buffer[256];
    std::string all;
    for (ssize_t n; (n = read(fd[0], buffer, sizeof buffer)) > 0;) all.append(buffer, n);
    return all;
  }
  int fd[2] = {-1, -1};
};

// Tells what the loop calls.
class Recorder : public IoHandler {
 public:
  explicit Recorder(std::function<void()> deleted = nullptr) : deleted_(std::move(deleted)) {}
  ~Recorder() override {
    if (deleted_) deleted_();
  }
  void OnReady(uint32_t events) override {
    ready.push_back(events);
    if (on_ready) on_ready(events);
  }
  void OnFlush() override {
    ++flushes;
    if (on_flush) on_flush();
  }
  std::vector<uint32_t> ready;
  int flushes = 0;
  std::function<void(uint32_t)> on_ready;
  std::function<void()> on_flush;

 private:
  const std::function<void()> deleted_;
};

class EventLoopTest : public testing::Test {
 protected:
  base::ManualClock clock_;
  EventLoop loop_{clock_};
};

TEST_F(EventLoopTest, EventsAreToldOnceUntilTheDescriptorChanges) {
  Pair pair;
  Recorder handler;
  ASSERT_TRUE(loop_.Add(pair.fd[0], &handler).ok());
  loop_.RunOnce(0);
  EXPECT_THAT(handler.ready, ElementsAre(EPOLLOUT)) << "writable from the start";
  handler.ready.clear();
  loop_.RunOnce(0);
  EXPECT_THAT(handler.ready, IsEmpty());

  pair.Send("a");
  loop_.RunOnce(0);
  EXPECT_THAT(handler.ready, ElementsAre(EPOLLIN | EPOLLOUT));
  handler.ready.clear();
  loop_.RunOnce(0);
  EXPECT_THAT(handler.ready, IsEmpty()) << "not read, and not announced again";
  pair.Send("b");
  loop_.RunOnce(0);
  EXPECT_THAT(handler.ready, ElementsAre(EPOLLIN | EPOLLOUT));
  EXPECT_EQ(pair.Drain(), "ab");
}

TEST_F(EventLoopTest, AFullDescriptorIsToldWhenThereIsRoom) {
  Pair pair;
  Recorder handler;
  ASSERT_TRUE(loop_.Add(pair.fd[0], &handler).ok());
  loop_.RunOnce(0);
  const std::string block(64 << 10, 'x');
  while (write(pair.fd[0], block.data(), block.size()) > 0) continue;
  loop_.RunOnce(0);
  handler.ready.clear();
  std::string sink(64 << 10, '\0');
  while (read(pair.fd[1], sink.data(), sink.size()) > 0) continue;
  loop_.RunOnce(0);
  ASSERT_EQ(handler.ready.size(), 1u);
  EXPECT_NE(handler.ready[0] & EPOLLOUT, 0u);
}

TEST_F(EventLoopTest, TheOtherSidesHalfCloseAndCloseAreTold) {
  Pair pair;
  Recorder handler;
  ASSERT_TRUE(loop_.Add(pair.fd[0], &handler).ok());
  loop_.RunOnce(0);
  handler.ready.clear();
  shutdown(pair.fd[1], SHUT_WR);
  loop_.RunOnce(0);
  ASSERT_EQ(handler.ready.size(), 1u);
  EXPECT_NE(handler.ready[0] & EPOLLRDHUP, 0u);
  close(pair.fd[1]);
  pair.fd[1] = -1;
  loop_.RunOnce(0);
  ASSERT_EQ(handler.ready.size(), 2u);
  EXPECT_NE(handler.ready[1] & EPOLLHUP, 0u);
}

TEST_F(EventLoopTest, ALevelTriggeredDescriptorIsToldEveryRoundUnlessSuspended) {
  Pair pair;
  Recorder handler;
  ASSERT_TRUE(loop_.AddLevel(pair.fd[0], &handler).ok());
  pair.Send("x");
  loop_.RunOnce(0);
  loop_.RunOnce(0);
  EXPECT_THAT(handler.ready, ElementsAre(EPOLLIN, EPOLLIN));
  loop_.Suspend(pair.fd[0], &handler);
  loop_.RunOnce(0);
  EXPECT_EQ(handler.ready.size(), 2u);
  loop_.Resume(pair.fd[0], &handler);
  loop_.RunOnce(0);
  EXPECT_EQ(handler.ready.size(), 3u);
}

TEST_F(EventLoopTest, ADescriptorThatCannotBeWatchedIsAnError) {
  Recorder handler;
  EXPECT_FALSE(loop_.Add(-1, &handler).ok());
}

TEST_F(EventLoopTest, MarkReadyCallsInTheNextRoundOnce) {
  Recorder handler;
  loop_.MarkReady(&handler);
  loop_.MarkReady(&handler);
  loop_.RunOnce(-1);  // something is ready: it does not wait
  EXPECT_THAT(handler.ready, ElementsAre(0u));
  loop_.RunOnce(0);
  EXPECT_THAT(handler.ready, ElementsAre(0u));
}

TEST_F(EventLoopTest, AHandlerThatMarksItselfReadyRunsOncePerRound) {
  Recorder handler;
  handler.on_ready = [&](uint32_t) { loop_.MarkReady(&handler); };
  loop_.MarkReady(&handler);
  for (int i = 0; i < 3; ++i) loop_.RunOnce(0);
  EXPECT_EQ(handler.ready.size(), 3u);
}

TEST_F(EventLoopTest, ManyAdditionsAreFlushedOnceAfterAllEvents) {
  Pair a;
  Pair b;
  std::vector<std::string> order;
  Recorder first;
  Recorder second;
  Recorder server;
  first.on_ready = [&](uint32_t) {
    order.emplace_back("read");
    loop_.MarkDirty(&server);
  };
  second.on_ready = first.on_ready;
  server.on_flush = [&] { order.emplace_back("flush"); };
  loop_.set_end_of_round([&] { order.emplace_back("end"); });
  ASSERT_TRUE(loop_.Add(a.fd[0], &first).ok());
  ASSERT_TRUE(loop_.Add(b.fd[0], &second).ok());
  loop_.RunOnce(0);
  EXPECT_THAT(order, ElementsAre("read", "read", "flush", "end"));
}

TEST_F(EventLoopTest, AHandlerMadeDirtyWhileFlushingIsFlushedInTheSameRound) {
  Recorder a;
  Recorder b;
  bool again = true;
  a.on_flush = [&] { loop_.MarkDirty(&b); };
  b.on_flush = [&] {
    if (std::exchange(again, false)) loop_.MarkDirty(&a);
  };
  loop_.MarkDirty(&a);
  loop_.RunOnce(0);
  EXPECT_EQ(a.flushes, 2);
  EXPECT_EQ(b.flushes, 2);
  loop_.RunOnce(0);
  EXPECT_EQ(a.flushes, 2);
}

TEST_F(EventLoopTest, WhatIsMadeDirtyAtTheEndOfARoundDoesNotWait) {
  Recorder handler;
  bool first = true;
  loop_.set_end_of_round([&] {
    if (std::exchange(first, false)) loop_.MarkDirty(&handler);
  });
  loop_.RunOnce(0);
  EXPECT_EQ(handler.flushes, 0);
  loop_.RunOnce(-1);
  EXPECT_EQ(handler.flushes, 1);
}

// Two handlers are ready in one round; whichever comes first retires the other.
TEST_F(EventLoopTest, ARetiredHandlerGetsNoPendingEventAndIsDeletedAfterTheRound) {
  Pair a;
  Pair b;
  int deleted = 0;
  auto* first = new Recorder([&] { ++deleted; });
  auto* second = new Recorder([&] { ++deleted; });
  int called = 0;
  int deleted_during_round = 0;
  Recorder* caller = nullptr;
  const auto retire = [&](Recorder* self, Recorder* other) {
    return [&, self, other](uint32_t) {
      ++called;
      caller = self;
      loop_.MarkReady(other);
      loop_.MarkDirty(other);
      loop_.Retire(other);
      loop_.Retire(other);
      loop_.MarkReady(other);
      loop_.MarkDirty(other);
      deleted_during_round = deleted;
    };
  };
  first->on_ready = retire(first, second);
  second->on_ready = retire(second, first);
  ASSERT_TRUE(loop_.Add(a.fd[0], first).ok());
  ASSERT_TRUE(loop_.Add(b.fd[0], second).ok());
  loop_.RunOnce(0);
  EXPECT_EQ(called, 1);
  EXPECT_EQ(deleted_during_round, 0);
  EXPECT_EQ(deleted, 1);
  // The caller is left: retire it too, so that nothing leaks.
  loop_.Retire(caller);
  loop_.RunOnce(0);
  EXPECT_EQ(deleted, 2);
}

TEST_F(EventLoopTest, AHandlerMayRetireItselfInEveryCall) {
  int deleted = 0;
  auto* reader = new Recorder([&] { ++deleted; });
  reader->on_ready = [&](uint32_t) { loop_.Retire(reader); };
  loop_.MarkReady(reader);
  auto* writer = new Recorder([&] { ++deleted; });
  writer->on_flush = [&] { loop_.Retire(writer); };
  loop_.MarkDirty(writer);
  loop_.RunOnce(0);
  EXPECT_EQ(deleted, 2);
}

TEST_F(EventLoopTest, RetireMayHandTheHandlerToItsPool) {
  Recorder handler;
  IoHandler* returned = nullptr;
  loop_.Retire(&handler, [&](IoHandler* h) { returned = h; });
  EXPECT_EQ(returned, nullptr);
  loop_.RunOnce(0);
  EXPECT_EQ(returned, &handler);
}

TEST_F(EventLoopTest, DeletingOneRetiredHandlerMayRetireAnother) {
  int deleted = 0;
  auto* inner = new Recorder([&] { ++deleted; });
  auto* outer = new Recorder([&] {
    ++deleted;
    loop_.Retire(inner);
  });
  loop_.Retire(outer);
  loop_.RunOnce(0);
  EXPECT_EQ(deleted, 2);
}

TEST(EventLoopEnd, DestroyingTheLoopDeletesWhatWasRetired) {
  int deleted = 0;
  {
    EventLoop loop;
    loop.Retire(new Recorder([&] { ++deleted; }));
  }
  EXPECT_EQ(deleted, 1);
}

TEST(EventLoopEnd, WhatWasPostedTooLateIsDestroyedWithTheLoop) {
  auto held = std::make_shared<int>(0);
  {
    EventLoop loop;
    loop.Post([held] { FAIL() << "nobody runs the loop"; });
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(EventLoopTest, TimersFireInOrderWhenTheirTimeHasCome) {
  std::vector<int> fired;
  Timer late(&loop_, [&] { fired.push_back(3); });
  Timer early(&loop_, [&] { fired.push_back(1); });
  Timer middle(&loop_, [&] { fired.push_back(2); });
  late.SetAfterMs(30);
  early.SetAfterMs(10);
  middle.SetAt(clock_.NowNs() + 20 * kMs);
  loop_.RunOnce(0);
  EXPECT_THAT(fired, IsEmpty());
  clock_.AdvanceMs(10);
  loop_.RunOnce(0);
  EXPECT_THAT(fired, ElementsAre(1));
  EXPECT_FALSE(early.armed());
  clock_.AdvanceMs(100);
  loop_.RunOnce(-1);  // due already: it does not wait
  EXPECT_THAT(fired, ElementsAre(1, 2, 3));
}

TEST_F(EventLoopTest, ATimerMayBeSetAnewAndCancelled) {
  int fired = 0;
  Timer timer(&loop_, [&] { ++fired; });
  timer.SetAfterMs(10);
  timer.SetAfterMs(50);
  clock_.AdvanceMs(20);
  loop_.RunOnce(0);
  EXPECT_EQ(fired, 0) << "the later setting counts";
  timer.SetAfterMs(1);
  clock_.AdvanceMs(1);
  loop_.RunOnce(0);
  EXPECT_EQ(fired, 1);
  timer.SetAfterMs(1);
  EXPECT_TRUE(timer.armed());
  timer.Cancel();
  timer.Cancel();
  EXPECT_FALSE(timer.armed());
  clock_.AdvanceMs(1000);
  loop_.RunOnce(0);
  EXPECT_EQ(fired, 1);
}

TEST_F(EventLoopTest, ATimerThatSetsItselfAnewTicks) {
  int fired = 0;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(&loop_, [&] {
    ++fired;
    timer->SetAfterMs(10);
  });
  timer->SetAfterMs(10);
  for (int i = 0; i < 5; ++i) {
    clock_.AdvanceMs(10);
    loop_.RunOnce(0);
  }
  EXPECT_EQ(fired, 5);
}

TEST_F(EventLoopTest, DestroyingATimerCancelsItAndATimerMayCancelAnother) {
  int fired = 0;
  auto gone = std::make_unique<Timer>(&loop_, [&] { ++fired; });
  gone->SetAfterMs(1);
  gone.reset();
  Timer second(&loop_, [&] { ++fired; });
  Timer first(&loop_, [&] { second.Cancel(); });
  first.SetAfterMs(1);
  second.SetAfterMs(2);
  clock_.AdvanceMs(5);
  loop_.RunOnce(0);
  EXPECT_EQ(fired, 0);
}

TEST_F(EventLoopTest, AnyMixOfSettingsFiresEachTimerAtItsTime) {
  constexpr int kTimers = 200;
  std::mt19937 random(11);
  std::vector<int64_t> due(kTimers, -1);
  std::vector<std::unique_ptr<Timer>> timers;
  int64_t last_due = 0;
  int fired = 0;
  for (int i = 0; i < kTimers; ++i) {
    timers.push_back(std::make_unique<Timer>(&loop_, [&, i] {
      ++fired;
      EXPECT_GE(due[i], last_due) << "soonest first";
      EXPECT_LE(due[i], clock_.NowNs());
      last_due = due[i];
      due[i] = -1;
    }));
  }
  for (int round = 0; round < 500; ++round) {
    for (int k = 0; k < 20; ++k) {
      const size_t i = random() % kTimers;
      if (random() % 3 == 0) {
        timers[i]->Cancel();
        due[i] = -1;
      } else {
        due[i] = clock_.NowNs() + (1 + random() % 50) * kMs;
        timers[i]->SetAt(due[i]);
      }
    }
    clock_.AdvanceMs(3);
    last_due = 0;
    loop_.RunOnce(0);
    for (int i = 0; i < kTimers; ++i) {
      ASSERT_EQ(timers[i]->armed(), due[i] >= 0);
      if (due[i] >= 0) {
        ASSERT_GT(due[i], clock_.NowNs()) << "overdue";
      }
    }
  }
  EXPECT_GT(fired, 1000);
}

TEST_F(EventLoopTest, OneReadingOfTheClockServesARound) {
  Recorder handler;
  int64_t seen = 0;
  handler.on_ready = [&](uint32_t) {
    clock_.AdvanceMs(7);
    seen = loop_.now_ns();
  };
  const int64_t before = clock_.NowNs();
  const uint64_t rounds = loop_.rounds();
  loop_.MarkReady(&handler);
  loop_.RunOnce(0);
  EXPECT_EQ(seen, before);
  EXPECT_EQ(loop_.rounds(), rounds + 1);
}

TEST_F(EventLoopTest, MessagesRunInOrderAndMayPostAgain) {
  std::vector<int> order;
  loop_.Post([&] {
    order.push_back(1);
    loop_.Post([&] { order.push_back(3); });
  });
  loop_.Post([&] { order.push_back(2); });
  loop_.RunOnce(0);
  EXPECT_THAT(order, ElementsAre(1, 2));
  loop_.RunOnce(0);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(EventLoopThreads, EveryMessageOfEveryThreadArrivesOnceAndInItsThreadsOrder) {
  constexpr int kThreads = 4;
  constexpr int kMessages = 20'000;
  EventLoop loop;
  std::vector<int> next(kThreads, 0);
  bool ordered = true;
  bool on_loop_thread = true;
  int total = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < kThreads; ++t) {
    posters.emplace_back([&, t] {
      for (int i = 0; i < kMessages; ++i) {
        loop.Post([&, t, i] {
          ordered = ordered && next[t] == i;
          on_loop_thread = on_loop_thread && loop.InLoopThread();
          next[t] = i + 1;
          if (++total == kThreads * kMessages) loop.Stop();
        });
      }
    });
  }
  loop.Run();
  for (std::thread& poster : posters) poster.join();
  EXPECT_EQ(total, kThreads * kMessages);
  EXPECT_TRUE(ordered);
  EXPECT_TRUE(on_loop_thread);
}

TEST(EventLoopThreads, AMessageWakesALoopThatWaits) {
  EventLoop loop;
  std::atomic<int> answered{0};
  std::thread runner([&] { loop.Run(); });
  for (int i = 1; i <= 200; ++i) {
    loop.Post([&] { answered.fetch_add(1); });
    while (answered.load() < i) std::this_thread::yield();
  }
  loop.Stop();
  runner.join();
  EXPECT_EQ(answered.load(), 200);
}

TEST(EventLoopThreads, StopEndsALoopThatWaitsOrWasNotYetRun) {
  EventLoop waiting;
  std::thread runner([&] { waiting.Run(); });
  waiting.Stop();
  runner.join();
  EventLoop fresh;
  fresh.Stop();
  fresh.Run();
  EXPECT_LE(fresh.rounds(), 1u);
}

}  // namespace
}  // namespace cashew::net
