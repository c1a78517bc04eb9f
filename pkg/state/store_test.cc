#include "pkg/state/store.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <random>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"

namespace cashew::state {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// Records that differ in size, so that a mixture of two could not pass for one.
PoolRecord Record(int n) {
  PoolRecord record;
  record.has_list = true;
  record.source_version = std::to_string(n);
  for (int i = 0; i <= n % 40; ++i) {
    pool::ServerSpec& server = record.servers.emplace_back();
    server.name = fmt::format("cache-{}", i);
    server.host = "h";
    server.port = 11211;
    server.zone = std::to_string(n);
  }
  return record;
}

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    char pattern[] = "/tmp/cashew-state-XXXXXX";
    parent_ = mkdtemp(pattern);
    dir_ = parent_ / "state";
  }
  ~StoreTest() override { fs::remove_all(parent_); }

  std::unique_ptr<Store> Open(StepHook hook = {}) {
    absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(dir_, std::move(hook));
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

  std::string OpenError() { return std::string(Store::Open(dir_).status().message()); }

  void Save(const std::string& pool, const PoolRecord& record) {
    auto store = Open();
    store->Save(pool, record);
    ASSERT_TRUE(store->Flush().ok());
  }

  std::optional<PoolRecord> Load(const std::string& pool = "p") {
    absl::StatusOr<std::optional<PoolRecord>> record = Open()->Load(pool);
    EXPECT_TRUE(record.ok()) << record.status();
    return record.value_or(std::nullopt);
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_)) names.push_back(entry.path().filename());
    return names;
  }

  void Write(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  std::string Read(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  fs::path parent_;
  fs::path dir_;
};

TEST_F(StoreTest, KeepsARecordOverARestart) {
  Save("p", Record(7));
  Save("..", Record(8));
  EXPECT_EQ(Load("p"), Record(7));
  EXPECT_EQ(Load(".."), Record(8));
  EXPECT_EQ(Load("q"), std::nullopt);
  EXPECT_THAT(Names(), UnorderedElementsAre("p.state", "%2E..state"));
}

TEST_F(StoreTest, FilesAndDirectoryAreTheOwnersAlone) {
  Save("p", Record(7));
  EXPECT_EQ(fs::status(dir_).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(dir_ / "p.state").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(StoreTest, ARecordIsLoadedAsSavedBeforeItIsOnDisk) {
  std::promise<void> started;
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future().share();
  auto store = Open([&](const char* step) {
    if (std::strcmp(step, "open") != 0) return;
    started.set_value();
    gate.wait();
  });
  store->Save("p", Record(1));
  started.get_future().wait();
  EXPECT_EQ(**store->Load("p"), Record(1));
  EXPECT_FALSE(fs::exists(dir_ / "p.state"));
  store->Remove("p");
  EXPECT_EQ(*store->Load("p"), std::nullopt);
  go.set_value();
}

TEST_F(StoreTest, PendingSavesAreWrittenAtTheEnd) {
  Open()->Save("p", Record(3));
  EXPECT_EQ(Load(), Record(3));
}

TEST_F(StoreTest, ARemovedPoolIsForgotten) {
  Save("p", Record(3));
  {
    auto store = Open();
    store->Remove("p");
    store->Remove("never there");
    EXPECT_TRUE(store->Flush().ok());
    EXPECT_EQ(*store->Load("p"), std::nullopt);
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(StoreTest, SavesThatComeFasterThanTheDiskAreOneWrite) {
  std::promise<void> started;
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future().share();
  int opens = 0;
  auto store = Open([&](const char* step) {
    if (std::strcmp(step, "open") != 0) return;
    if (++opens == 1) started.set_value();
    gate.wait();
  });
  store->Save("p", Record(0));
  started.get_future().wait();
  for (int n = 1; n <= 1000; ++n) store->Save("p", Record(n));
  EXPECT_EQ(store->report().pending, 1);
  go.set_value();
  EXPECT_TRUE(store->Flush().ok());
  EXPECT_EQ(opens, 2);
  EXPECT_EQ(**store->Load("p"), Record(1000));
  EXPECT_EQ(store->report().pending, 0);
  EXPECT_GT(store->report().saved_us, 0);
}

TEST_F(StoreTest, ManyThreadsMaySave) {
  {
    auto store = Open();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int n = 0; n <= 200; ++n) {
          store->Save(fmt::format("pool-{}", t), Record(n));
          store->Save("shared", Record(n));
          if (n % 50 == 0) {
            EXPECT_TRUE(store->Flush().ok());
            EXPECT_TRUE((*store->Load("shared")).has_value());
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  for (int t = 0; t < 4; ++t) EXPECT_EQ(Load(fmt::format("pool-{}", t)), Record(200));
  EXPECT_EQ(Load("shared"), Record(200));
  EXPECT_EQ(Names().size(), 5u);
}

// --- The directory -------------------------------------------------------------------------

// As systemd's StateDirectory= with DynamicUser= is one.
TEST_F(StoreTest, FollowsASymbolicLinkOfItsOwn) {
  fs::create_directory(parent_ / "private");
  fs::permissions(parent_ / "private", fs::perms::owner_all);
  fs::create_symlink("private", dir_);
  Save("p", Record(1));
  EXPECT_TRUE(fs::exists(parent_ / "private" / "p.state"));
  EXPECT_EQ(Load(), Record(1));
  fs::permissions(parent_ / "private", fs::perms::all);
  EXPECT_THAT(OpenError(), HasSubstr("lets group or others in")) << "the target is checked";
}

TEST_F(StoreTest, RefusesASymbolicLinkToNowhere) {
  fs::create_symlink("nowhere", dir_);
  EXPECT_THAT(OpenError(), HasSubstr("is a symbolic link; name the directory it points to"));
}

TEST_F(StoreTest, RefusesASymbolicLinkOfAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can make one";
  fs::create_directory(parent_ / "real");
  fs::permissions(parent_ / "real", fs::perms::owner_all);
  fs::create_symlink("real", dir_);
  ASSERT_EQ(lchown(dir_.c_str(), 65534, 65534), 0);
  EXPECT_THAT(OpenError(), HasSubstr("is a symbolic link; name the directory it points to"));
  dir_ += "/";  // which would follow it
  EXPECT_THAT(OpenError(), HasSubstr("is a symbolic link"));
}

TEST_F(StoreTest, RefusesWhatIsNotADirectory) {
  Write(dir_, "");
  EXPECT_THAT(OpenError(), HasSubstr("is not a directory"));
}

TEST_F(StoreTest, RefusesADirectoryThatIsOpenToOthers) {
  fs::create_directory(dir_);
  for (const int mode : {0750, 0701, 0777}) {
    fs::permissions(dir_, static_cast<fs::perms>(mode));
    EXPECT_THAT(OpenError(),
                HasSubstr(fmt::format("mode {:04o} lets group or others in; chmod 700", mode)));
  }
  fs::permissions(dir_, fs::perms::owner_all);
  EXPECT_EQ(OpenError(), "");
}

TEST_F(StoreTest, RefusesAnotherUsersDirectory) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  fs::create_directory(dir_);
  fs::permissions(dir_, fs::perms::owner_all);
  ASSERT_EQ(chown(dir_.c_str(), 65534, 65534), 0);
  EXPECT_THAT(OpenError(), HasSubstr("belongs to user 65534, not to 0 who runs this; chown it"));
}

TEST_F(StoreTest, SaysThatTheParentIsMissing) {
  dir_ = parent_ / "no" / "state";
  EXPECT_THAT(OpenError(), HasSubstr("cannot make the state directory"));
}

TEST_F(StoreTest, LeftoversOfAnInterruptedWriteAreRemoved) {
  Save("p", Record(1));
  Write(dir_ / ".tmp-1-1", "half a rec");
  Write(dir_ / "somebody's file", "stays");
  EXPECT_EQ(Load(), Record(1));
  EXPECT_THAT(Names(), UnorderedElementsAre("p.state", "somebody's file"));
}

// --- Files that are not trusted ------------------------------------------------------------

TEST_F(StoreTest, ATornFileIsSetAsideWhereverItIsCut) {
  Save("p", Record(0));
  const std::string whole = Read(dir_ / "p.state");
  auto store = Open();
  for (size_t size = 0; size < whole.size(); ++size) {
    Write(dir_ / "p.state", whole.substr(0, size));
    EXPECT_EQ(*store->Load("p"), std::nullopt) << size;
  }
  EXPECT_EQ(Read(dir_ / "p.state.bad-1"), whole.substr(0, whole.size() - 1));
  EXPECT_EQ(Read(dir_ / "p.state.bad-4"), whole.substr(0, whole.size() - 4));
  EXPECT_EQ(Names().size(), 4u) << "a bounded number is kept";
}

TEST_F(StoreTest, ASymbolicLinkInPlaceOfAFileIsNotFollowed) {
  Save("p", Record(1));
  fs::rename(dir_ / "p.state", parent_ / "elsewhere");
  fs::create_symlink("../elsewhere", dir_ / "p.state");
  EXPECT_EQ(Load(), std::nullopt);
  Save("p", Record(2));
  EXPECT_EQ(Load(), Record(2));
  EXPECT_TRUE(fs::is_symlink(dir_ / "p.state.bad-1"));
  EXPECT_TRUE(Decode("p", Read(parent_ / "elsewhere")).ok()) << "the target was not written to";
}

TEST_F(StoreTest, AFifoOrADirectoryInPlaceOfAFileIsSetAside) {
  fs::create_directory(dir_);
  fs::permissions(dir_, fs::perms::owner_all);
  ASSERT_EQ(mkfifo((dir_ / "p.state").c_str(), 0600), 0);
  fs::create_directory(dir_ / "q.state");
  EXPECT_EQ(Load("p"), std::nullopt);
  EXPECT_EQ(Load("q"), std::nullopt);
  EXPECT_THAT(Names(), UnorderedElementsAre("p.state.bad-1", "q.state.bad-1"));
}

TEST_F(StoreTest, AnotherUsersFileIsSetAside) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  Save("p", Record(1));
  ASSERT_EQ(chown((dir_ / "p.state").c_str(), 65534, 65534), 0);
  EXPECT_EQ(Load(), std::nullopt);
  EXPECT_THAT(Names(), ElementsAre("p.state.bad-1"));
}

TEST_F(StoreTest, AFileTooLargeIsNotRead) {
  fs::create_directory(dir_);
  fs::permissions(dir_, fs::perms::owner_all);
  Write(dir_ / "p.state", "");
  fs::resize_file(dir_ / "p.state", uint64_t{1} << 40);  // sparse
  EXPECT_EQ(Load(), std::nullopt);
  EXPECT_THAT(Names(), ElementsAre("p.state.bad-1"));
}

TEST_F(StoreTest, AnotherPoolsFileIsSetAside) {
  Save("q", Record(1));
  fs::rename(dir_ / "q.state", dir_ / "p.state");
  EXPECT_EQ(Load("p"), std::nullopt);
}

// --- Writes that fail ----------------------------------------------------------------------

TEST_F(StoreTest, AFailedWriteIsReportedAndRepeatedWhenTheDirectoryIsSoundAgain) {
  auto store = Open();
  store->Save("p", Record(1));
  ASSERT_TRUE(store->Flush().ok());
  fs::permissions(dir_, fs::perms::all);
  store->Save("p", Record(2));
  const absl::Status failed = store->Flush();
  EXPECT_THAT(std::string(failed.message()), HasSubstr("pool \"p\": state directory"));
  EXPECT_EQ(store->report().status, failed);
  EXPECT_EQ(store->report().pending, 1);
  EXPECT_GE(store->report().failures, 1u);
  fs::permissions(dir_, fs::perms::owner_all);
  // Without being asked to.
  while (store->report().pending != 0) std::this_thread::yield();
  EXPECT_TRUE(store->Flush().ok());
  EXPECT_EQ(Load(), Record(2));
}

TEST_F(StoreTest, ADirectoryThatWasRemovedIsMadeAgain) {
  auto store = Open();
  fs::remove_all(dir_);
  store->Save("p", Record(2));
  EXPECT_TRUE(store->Flush().ok());
  EXPECT_EQ(Load(), Record(2));
}

TEST_F(StoreTest, ARecordThatCannotBeKeptIsDroppedAndTheOldOneStays) {
  Save("p", Record(1));
  auto store = Open();
  PoolRecord bad = Record(2);
  bad.servers[0].weight = 0;
  store->Save("p", bad);
  EXPECT_THAT(std::string(store->Flush().message()), HasSubstr("weight is 0"));
  EXPECT_THAT(std::string(store->Flush().message()), HasSubstr("weight is 0")) << "still so";
  store->Save("q", Record(5));
  EXPECT_TRUE(store->Flush().ok());
  EXPECT_EQ(store->report().pending, 0);
  EXPECT_EQ(**store->Load("p"), Record(1));
  EXPECT_EQ(**store->Load("q"), Record(5));
}

TEST_F(StoreTest, ATemporaryFileTakenAwayCostsARepetition) {
  bool taken = false;
  auto store = Open([&](const char* step) {
    if (std::strcmp(step, "fsync") != 0 || taken) return;
    taken = true;
    ASSERT_TRUE(Store::Open(dir_).ok());  // as the next process of an upgrade does
  });
  store->Save("p", Record(4));
  while (store->report().pending != 0) std::this_thread::yield();
  EXPECT_TRUE(taken);
  EXPECT_EQ(Load(), Record(4));
}

// --- Crashes -------------------------------------------------------------------------------

// Runs `body` in a process of its own, which must die of SIGKILL.
template <typename Body, typename Parent>
void InDoomedChild(Body body, Parent parent) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    body();
    _exit(1);
  }
  parent(child);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

TEST_F(StoreTest, AProcessKilledAfterAnyStepLeavesOneWholeRecord) {
  struct Case {
    const char* step;
    int expected;
  };
  for (const Case& c : {Case{"open", 1}, Case{"write", 1}, Case{"fsync", 1}, Case{"rename", 2},
                        Case{"dirsync", 2}}) {
    Save("p", Record(1));
    InDoomedChild(
        [&] {
          auto store = Open([&](const char* step) {
            if (std::strcmp(step, c.step) == 0) raise(SIGKILL);
          });
          store->Save("p", Record(2));
          (void)store->Flush();
        },
        [](pid_t) {});
    EXPECT_EQ(Load(), Record(c.expected)) << "killed after " << c.step;
    EXPECT_THAT(Names(), ElementsAre("p.state"));
  }
}

TEST_F(StoreTest, AProcessKilledAtAnyMomentLosesNothingThatWasFlushed) {
  std::mt19937 random(1);
  int saved = 0;
  for (int round = 0; round < 60; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    InDoomedChild(
        [&] {
          auto store = Open();
          for (int n = saved + 1;; ++n) {
            store->Save("p", Record(n));
            if (!store->Flush().ok()) break;
            if (write(pipe_fds[1], &n, sizeof(n)) != sizeof(n)) break;
          }
        },
        [&](pid_t child) {
          close(pipe_fds[1]);
          // The moment is the test's subject: some time after the first record.
          if (read(pipe_fds[0], &saved, sizeof(saved)) != sizeof(saved)) ADD_FAILURE();
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
          kill(child, SIGKILL);
        });
    int flushed = 0;
    while (read(pipe_fds[0], &flushed, sizeof(flushed)) == sizeof(flushed)) saved = flushed;
    close(pipe_fds[0]);
    const std::optional<PoolRecord> record = Load();
    ASSERT_TRUE(record.has_value());
    const int n = std::stoi(record->source_version);
    EXPECT_EQ(*record, Record(n));
    EXPECT_TRUE(n == saved || n == saved + 1) << n << " after " << saved;
    EXPECT_THAT(Names(), ElementsAre("p.state"));
    saved = n;
  }
}

}  // namespace
}  // namespace cashew::state
