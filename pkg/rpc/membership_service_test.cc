#include "pkg/rpc/membership_service.h"

#include <atomic>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "grpcpp/generic/generic_stub.h"

#include "pkg/rpc/test_port.h"
#include "pkg/rpc/update_stream.h"

namespace cashew::rpc {
namespace {

using grpc::StatusCode;
using Stub = membershippb::MembershipService::Stub;

void AddServers(int count, google::protobuf::RepeatedPtrField<membershippb::Server>* servers) {
  for (int i = 0; i < count; ++i) {
    membershippb::Server* server = servers->Add();
    server->set_name(fmt::format("cache-{}", i));
    server->set_address("127.0.0.1:11211");
  }
}

membershippb::StreamServersRequest Update(const std::string& pool, uint64_t nonce,
                                          int servers = 1) {
  membershippb::StreamServersRequest request;
  request.set_pool(pool);
  request.set_nonce(nonce);
  request.set_updater("sidecar-a");
  AddServers(servers, request.mutable_servers());
  return request;
}

class Membership : public RpcTest {
 protected:
  void SetUp() override {
    backend_.Publish(MakeView("alpha", 2, 5));
    backend_.Publish(MakeView("beta", 1, 1));
    StartServer();
  }

  // A StreamServers call as a sidecar makes it.
  struct Stream {
    explicit Stream(Stub* stub) {
      SetDeadline(&context);
      stream = stub->StreamServers(&context);
    }
    membershippb::StreamServersResponse Read() {
      membershippb::StreamServersResponse response;
      EXPECT_TRUE(stream->Read(&response));
      return response;
    }
    grpc::Status Finish() {
      membershippb::StreamServersResponse response;
      while (stream->Read(&response)) {
      }
      return stream->Finish();
    }
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<membershippb::StreamServersRequest,
                                             membershippb::StreamServersResponse>>
        stream;
  };

  // What writes beside a test that reads. A test that gives up ends the stream, and with it this.
  class Writer {
   public:
    Writer(Stream* stream, std::function<void()> write)
        : stream_(stream), thread_(std::move(write)) {}
    ~Writer() {
      if (testing::Test::HasFatalFailure()) stream_->context.TryCancel();
      thread_.join();
    }

   private:
    Stream* const stream_;
    std::thread thread_;
  };

  struct Watch {
    Watch(Stub* stub, const std::string& pool) {
      SetDeadline(&context, 120);
      membershippb::WatchPoolRequest request;
      request.set_pool(pool);
      reader = stub->WatchPool(&context, request);
    }
    membershippb::WatchPoolResponse Read() {
      membershippb::WatchPoolResponse response;
      EXPECT_TRUE(reader->Read(&response));
      return response;
    }
    grpc::Status Finish() {
      membershippb::WatchPoolResponse response;
      while (reader->Read(&response)) {
      }
      return reader->Finish();
    }
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<membershippb::WatchPoolResponse>> reader;
  };

  bool EveryStreamIsClosedOnce() {
    return backend_.WaitFor([&] {
      if (static_cast<int>(backend_.closed.size()) != backend_.opened) return false;
      for (const auto& [id, times] : backend_.closed) {
        if (times != 1) return false;
      }
      return true;
    });
  }
};

// ---- unary ------------------------------------------------------------------------

TEST_F(Membership, ListsPoolsWithoutServersAndGetsOneWithThem) {
  membershippb::ListPoolsResponse list;
  ASSERT_TRUE(Call(membership_, &Stub::ListPools, {}, &list).ok());
  ASSERT_EQ(list.pools_size(), 2);
  EXPECT_EQ(list.pools(0).name(), "alpha");
  EXPECT_EQ(list.pools(0).server_count(), 2);
  EXPECT_EQ(list.pools(0).servers_size(), 0);

  membershippb::GetPoolRequest request;
  request.set_pool("alpha");
  membershippb::GetPoolResponse pool;
  ASSERT_TRUE(Call(membership_, &Stub::GetPool, request, &pool).ok());
  EXPECT_EQ(pool.pool().version(), 5);
  EXPECT_EQ(pool.pool().servers(1).server().name(), "cache-1");
}

TEST_F(Membership, AnUnknownPoolIsNotFoundWhateverIsAsked) {
  membershippb::GetPoolRequest get;
  get.set_pool("ga\x01mma");
  membershippb::GetPoolResponse pool;
  const grpc::Status status = Call(membership_, &Stub::GetPool, get, &pool);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no pool \"ga\\x01mma\"");

  membershippb::SetServersRequest set;
  set.set_pool("gamma");
  membershippb::SetServersResponse applied;
  EXPECT_EQ(Call(membership_, &Stub::SetServers, set, &applied).error_code(),
            StatusCode::NOT_FOUND);
  EXPECT_EQ(Watch(membership_.get(), "gamma").Finish().error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(backend_.watched, 0);
}

TEST_F(Membership, SetServersPassesTheListOnAndTellsWhatItChanged) {
  membershippb::SetServersRequest request;
  request.set_pool("alpha");
  request.set_expected_version(5);
  request.set_dry_run(true);
  request.set_take_over(true);
  AddServers(3, request.mutable_servers());
  membershippb::SetServersResponse response;
  const grpc::Status status = Call(membership_, &Stub::SetServers, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.version(), 6);
  EXPECT_EQ(response.added(0), "cache-0");
  EXPECT_EQ(response.ring_checksum(), 7);
  ASSERT_EQ(backend_.sets.size(), 1u);
  EXPECT_EQ(backend_.sets[0].servers.size(), 3u);
  EXPECT_TRUE(backend_.sets[0].dry_run);
  EXPECT_TRUE(backend_.sets[0].take_over);
}

TEST_F(Membership, AStaleVersionIsAborted) {
  membershippb::SetServersRequest request;
  request.set_pool("alpha");
  request.set_expected_version(4);
  membershippb::SetServersResponse response;
  const grpc::Status status = Call(membership_, &Stub::SetServers, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "the pool is at version 5");
}

TEST_F(Membership, ABadListIsRefusedWithItsFieldsAndNeverReachesTheBackend) {
  membershippb::SetServersRequest request;
  request.set_pool("alpha");
  AddServers(2, request.mutable_servers());
  request.mutable_servers(1)->set_name("cache-0");
  request.mutable_servers(1)->set_weight(0);
  membershippb::SetServersResponse response;
  const grpc::Status status = Call(membership_, &Stub::SetServers, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "servers[1].name: \"cache-0\" is the name of servers[0] already; names differ (and 1 "
            "more)");
  google::rpc::Status details;
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(1).field(), "servers[1].weight");
  EXPECT_TRUE(backend_.sets.empty());
  EXPECT_EQ(backend_.malformed, std::vector<std::string>{"alpha"}) << "so that it is counted";
}

TEST_F(Membership, AHundredThousandServersAreRefused) {
  membershippb::SetServersRequest request;
  request.set_pool("alpha");
  AddServers(100'000, request.mutable_servers());
  ASSERT_LT(request.ByteSizeLong(), 4u << 20);
  membershippb::SetServersResponse response;
  const grpc::Status status = Call(membership_, &Stub::SetServers, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "servers: 100000 servers; a pool has at most 4096");
}

TEST_F(Membership, AMessageOfTenMegabytesExhaustsWhatAMessageMayBe) {
  membershippb::SetServersRequest request;
  request.set_pool("alpha");
  AddServers(1, request.mutable_servers());
  request.mutable_servers(0)->set_zone(std::string(10'000'000, 'z'));
  membershippb::SetServersResponse response;
  EXPECT_EQ(Call(membership_, &Stub::SetServers, request, &response).error_code(),
            StatusCode::RESOURCE_EXHAUSTED);
  membershippb::ListPoolsResponse list;
  EXPECT_TRUE(Call(membership_, &Stub::ListPools, {}, &list).ok());
}

TEST_F(Membership, BytesThatAreNoMessageEndTheirCallOnly) {
  grpc::GenericStub generic(channel_);
  const grpc::Slice junk("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
  for (const char* method : {"GetPool", "SetServers", "WatchPool"}) {
    grpc::ClientContext context;
    SetDeadline(&context);
    grpc::CompletionQueue queue;
    const grpc::ByteBuffer request(&junk, 1);
    auto call = generic.PrepareUnaryCall(
        &context, fmt::format("/cashew.membership.v1.MembershipService/{}", method), request,
        &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, &status);
    void* tag;
    bool ok;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_FALSE(status.ok()) << method;
    EXPECT_NE(status.error_code(), StatusCode::DEADLINE_EXCEEDED) << method;
  }
  membershippb::ListPoolsResponse list;
  EXPECT_TRUE(Call(membership_, &Stub::ListPools, {}, &list).ok());
}

TEST_F(Membership, ACallWhoseAnswerTheBackendDropsIsUnavailable) {
  backend_.Hold("alpha");
  membershippb::SetServersRequest request;
  request.set_pool("alpha");
  membershippb::SetServersResponse response;
  std::thread dropper([&] {
    EXPECT_TRUE(backend_.WaitFor([&] { return backend_.sets.size() == 1; }));
    backend_.Drop("alpha");
  });
  const grpc::Status status = Call(membership_, &Stub::SetServers, request, &response);
  dropper.join();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the proxy is stopping");
}

TEST_F(Membership, AnAnswerAfterTheClientGaveUpDoesNothing) {
  backend_.Hold("alpha");
  membershippb::SetServersRequest request;
  request.set_pool("alpha");
  membershippb::SetServersResponse response;
  grpc::ClientContext context;
  std::thread canceller([&] {
    EXPECT_TRUE(backend_.WaitFor([&] { return backend_.sets.size() == 1; }));
    context.TryCancel();
  });
  EXPECT_EQ(membership_->SetServers(&context, request, &response).error_code(),
            StatusCode::CANCELLED);
  canceller.join();
  server_->Shutdown(0);  // the call is over on this side too
  backend_.Release("alpha");
  EXPECT_TRUE(backend_.WaitFor([&] { return backend_.applied == 1; }));
}

// ---- StreamServers --------------------------------------------------------------------

TEST_F(Membership, EachListOfAStreamGetsItsResponse) {
  Stream sidecar(membership_.get());
  for (uint64_t nonce = 1; nonce <= 20; ++nonce) {
    membershippb::StreamServersRequest request = Update("alpha", nonce);
    request.set_source_version("r77");
    ASSERT_TRUE(sidecar.stream->Write(request));
    const auto response = sidecar.Read();
    EXPECT_EQ(response.pool(), "alpha");
    EXPECT_EQ(response.nonce(), nonce);
    EXPECT_EQ(response.version(), 5 + nonce);
    EXPECT_EQ(response.membership_checksum(), 0x10000005 + nonce);
    EXPECT_FALSE(response.has_error());
  }
  EXPECT_EQ(backend_.updates[0].updater, "sidecar-a");
  EXPECT_EQ(backend_.updates[0].source_version, "r77");
  sidecar.stream->WritesDone();
  EXPECT_TRUE(sidecar.Finish().ok());
  EXPECT_TRUE(EveryStreamIsClosedOnce());
}

TEST_F(Membership, ABadListIsANackWithTheLastGoodVersionAndTheStreamGoesOn) {
  Stream sidecar(membership_.get());
  membershippb::StreamServersRequest bad = Update("alpha", 1);
  bad.mutable_servers(0)->set_address("169.254.169.254:80");
  sidecar.stream->Write(bad);
  auto response = sidecar.Read();
  EXPECT_EQ(response.nonce(), 1);
  EXPECT_EQ(response.error().code(), 3);
  EXPECT_EQ(response.error().message(),
            "servers[0].address: \"169.254.169.254\" is a link-local address");
  EXPECT_EQ(response.version(), 5);
  EXPECT_EQ(response.membership_checksum(), 0x10000005);

  sidecar.stream->Write(Update("gamma", 2));
  response = sidecar.Read();
  EXPECT_EQ(response.error().code(), static_cast<int>(StatusCode::NOT_FOUND));
  EXPECT_EQ(response.version(), 0);

  membershippb::StreamServersRequest long_version = Update("alpha", 3);
  long_version.set_source_version(std::string(256, 'v'));
  sidecar.stream->Write(long_version);
  EXPECT_EQ(sidecar.Read().error().message(), "source_version: 256 bytes; at most 255");

  sidecar.stream->Write(Update("alpha", 4));
  response = sidecar.Read();
  EXPECT_FALSE(response.has_error());
  EXPECT_EQ(response.version(), 6);
}

TEST_F(Membership, AnUpdaterThatIsMissingOrChangesEndsTheStream) {
  Stream nameless(membership_.get());
  membershippb::StreamServersRequest request = Update("alpha", 1);
  request.clear_updater();
  nameless.stream->Write(request);
  grpc::Status status = nameless.Finish();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "updater: is missing; say who updates, the same in every request");

  Stream changing(membership_.get());
  changing.stream->Write(Update("alpha", 1));
  changing.Read();
  request.set_updater("b");
  changing.stream->Write(request);
  status = changing.Finish();
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "updater: \"b\" was \"sidecar-a\" before; one stream has one updater");
  EXPECT_TRUE(EveryStreamIsClosedOnce());
  EXPECT_EQ(backend_.updates.size(), 1u);
}

TEST_F(Membership, ASecondStreamOfAnUpdaterEndsTheFirstAndAnotherUpdaterIsTold) {
  Stream first(membership_.get());
  first.stream->Write(Update("alpha", 1));
  EXPECT_FALSE(first.Read().has_error());

  Stream other(membership_.get());
  membershippb::StreamServersRequest request = Update("alpha", 1);
  request.set_updater("sidecar-b");
  other.stream->Write(request);
  const auto refused = other.Read();
  EXPECT_EQ(refused.error().code(), static_cast<int>(StatusCode::ALREADY_EXISTS));
  EXPECT_EQ(refused.error().message(), "the pool belongs to sidecar-a");

  Stream second(membership_.get());
  second.stream->Write(Update("alpha", 1));
  EXPECT_FALSE(second.Read().has_error());
  const grpc::Status status = first.Finish();
  EXPECT_EQ(status.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "another stream of this updater took over");
  EXPECT_TRUE(backend_.WaitFor([&] { return backend_.closed[1] == 1; }));
}

TEST_F(Membership, ASlowPoolDoesNotHoldUpAnother) {
  backend_.Hold("alpha");
  Stream sidecar(membership_.get());
  sidecar.stream->Write(Update("alpha", 1));
  sidecar.stream->Write(Update("beta", 2));
  EXPECT_EQ(sidecar.Read().nonce(), 2);
  backend_.Release("alpha");
  EXPECT_EQ(sidecar.Read().nonce(), 1);
}

TEST_F(Membership, ResponsesOfOnePoolKeepTheOrderOfTheRequests) {
  backend_.Hold("alpha");
  Stream sidecar(membership_.get());
  for (uint64_t nonce = 1; nonce <= 3; ++nonce) sidecar.stream->Write(Update("alpha", nonce));
  ASSERT_TRUE(backend_.WaitFor([&] { return backend_.updates.size() == 3; }));
  backend_.Release("alpha", 3, /*newest_first=*/true);
  for (uint64_t nonce = 1; nonce <= 3; ++nonce) EXPECT_EQ(sidecar.Read().nonce(), nonce);
}

TEST_F(Membership, ListsAreNotReadFasterThanTheyAreAnswered) {
  backend_.Hold("alpha");
  Stream sidecar(membership_.get());
  const Writer writer(&sidecar, [&] {
    for (uint64_t nonce = 1; nonce <= 50; ++nonce) sidecar.stream->Write(Update("alpha", nonce));
  });
  ASSERT_TRUE(
      backend_.WaitFor([&] { return backend_.updates.size() == UpdateStream::kMaxInFlight; }));
  // The others are with the client or in its socket until an answer has been written.
  for (uint64_t nonce = 1; nonce <= 50; ++nonce) {
    EXPECT_LE(backend_.HeldCount("alpha"), UpdateStream::kMaxInFlight);
    ASSERT_TRUE(backend_.WaitFor([&] { return backend_.updates.size() >= nonce; }));
    backend_.Release("alpha", 1);
    ASSERT_EQ(sidecar.Read().nonce(), nonce);
  }
}

TEST_F(Membership, ListsReachTheBackendInTheOrderTheyWereSent) {
  constexpr uint64_t kLists = 3'000;
  Stream sidecar(membership_.get());
  const Writer writer(&sidecar, [&] {
    for (uint64_t nonce = 1; nonce <= kLists; ++nonce) {
      auto update = Update("alpha", nonce);
      update.set_source_version(std::to_string(nonce));
      sidecar.stream->Write(update);
    }
  });
  for (uint64_t nonce = 1; nonce <= kLists; ++nonce) ASSERT_EQ(sidecar.Read().nonce(), nonce);
  ASSERT_EQ(backend_.updates.size(), kLists);
  for (uint64_t i = 0; i < kLists; ++i) {
    ASSERT_EQ(backend_.updates[i].source_version, std::to_string(i + 1));
  }
}

TEST_F(Membership, AHalfClosedStreamGetsItsResponsesBeforeItEnds) {
  backend_.Hold("alpha");
  Stream sidecar(membership_.get());
  sidecar.stream->Write(Update("alpha", 1));
  sidecar.stream->Write(Update("alpha", 2));
  sidecar.stream->WritesDone();
  ASSERT_TRUE(backend_.WaitFor([&] { return backend_.updates.size() == 2; }));
  backend_.Release("alpha");
  EXPECT_EQ(sidecar.Read().nonce(), 1);
  EXPECT_EQ(sidecar.Read().nonce(), 2);
  EXPECT_TRUE(sidecar.Finish().ok());
}

TEST_F(Membership, AnswersAfterAStreamWasCancelledDoNothing) {
  backend_.Hold("alpha");
  {
    Stream sidecar(membership_.get());
    sidecar.stream->Write(Update("alpha", 1));
    sidecar.stream->Write(Update("alpha", 2));
    ASSERT_TRUE(backend_.WaitFor([&] { return backend_.updates.size() == 2; }));
    sidecar.context.TryCancel();
    EXPECT_EQ(sidecar.Finish().error_code(), StatusCode::CANCELLED);
  }
  EXPECT_TRUE(EveryStreamIsClosedOnce());
  backend_.Release("alpha");
  membershippb::SetServersRequest behind;  // comes after the two in the backend's queue
  behind.set_pool("beta");
  membershippb::SetServersResponse response;
  EXPECT_TRUE(Call(membership_, &Stub::SetServers, behind, &response).ok());
}

TEST_F(Membership, AStreamThatNeverReadsItsResponsesIsNotReadEither) {
  // Its gRPC takes a window full of responses; that window shall not grow.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto stub = membershippb::MembershipService::NewStub(NewChannel(arguments));
  Stream greedy(stub.get());
  std::atomic<int> written{0};
  std::thread writer([&] {
    while (greedy.stream->Write(Update("alpha", 1)) && ++written < 200'000) {
    }
  });
  ASSERT_TRUE(backend_.WaitFor([&] { return backend_.updates.size() > 100; }));
  size_t seen = 0;
  // Until the backend hears nothing more.
  while (true) {
    size_t now = 0;
    backend_.WaitFor([&] {
      now = backend_.updates.size();
      return true;
    });
    if (now == seen) break;
    seen = now;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  EXPECT_LT(written, 200'000);
  membershippb::ListPoolsResponse list;
  EXPECT_TRUE(Call(membership_, &Stub::ListPools, {}, &list).ok());
  greedy.context.TryCancel();
  writer.join();
  EXPECT_TRUE(EveryStreamIsClosedOnce());
}

// ---- WatchPool ---------------------------------------------------------------------------

TEST_F(Membership, AWatchShowsThePoolThenEveryChangeWithItsNames) {
  Watch watch(membership_.get(), "alpha");
  auto message = watch.Read();
  EXPECT_EQ(message.pool().servers_size(), 2);
  EXPECT_EQ(message.added_size() + message.removed_size() + message.changed_size(), 0);

  pool::PoolView view = MakeView("alpha", 3, 6);
  view.servers.erase(view.servers.begin());
  view.servers[0].healthy = false;
  backend_.Publish(view);
  message = watch.Read();
  EXPECT_EQ(message.pool().version(), 6);
  ASSERT_EQ(message.added_size(), 1);
  EXPECT_EQ(message.added(0), "cache-2");
  ASSERT_EQ(message.removed_size(), 1);
  EXPECT_EQ(message.removed(0), "cache-0");
  ASSERT_EQ(message.changed_size(), 1);
  EXPECT_EQ(message.changed(0), "cache-1");
}

TEST_F(Membership, AWatchEndsWithItsPool) {
  Watch watch(membership_.get(), "alpha");
  watch.Read();
  backend_.RemovePool("alpha");
  const grpc::Status status = watch.Finish();
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "pool \"alpha\" has left the configuration");
  EXPECT_TRUE(backend_.WaitFor([&] { return backend_.watching == 0; }));

  backend_.Publish(MakeView("alpha", 1, 1));
  EXPECT_EQ(Watch(membership_.get(), "alpha").Read().pool().servers_size(), 1);
}

TEST_F(Membership, AThousandWatchersAreOneWatchOfTheBackend) {
  constexpr int kWatchers = 1000;
  backend_.Publish(MakeView("alpha", 400, 5));
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < kWatchers; ++i) {
    watches.push_back(std::make_unique<Watch>(membership_.get(), "alpha"));
  }
  for (const auto& watch : watches) ASSERT_EQ(watch->Read().pool().servers_size(), 400);
  EXPECT_EQ(backend_.watched, 1);

  backend_.Publish(MakeView("alpha", 401, 6));
  for (const auto& watch : watches) {
    const auto message = watch->Read();
    ASSERT_EQ(message.pool().version(), 6);
    ASSERT_EQ(message.added_size(), 1);
  }
  EXPECT_EQ(backend_.watched, 1);
  watches.clear();
  EXPECT_TRUE(backend_.WaitFor([&] { return backend_.watching == 0; }));
}

TEST_F(Membership, ChangesThatComeFasterThanTheyAreReadArePutTogether) {
  constexpr int kChanges = 300;
  backend_.Publish(MakeView("alpha", 4000, 1000));
  Watch slow(membership_.get(), "alpha");
  Watch quick(membership_.get(), "alpha");
  std::set<std::string> names;
  const auto first = slow.Read();
  for (const auto& server : first.pool().servers()) names.insert(server.server().name());
  for (int i = 1; i <= kChanges; ++i) {
    backend_.Publish(MakeView("alpha", 4000 + i, 1000 + static_cast<uint64_t>(i)));
  }
  for (uint64_t version = 0; version < 1000 + kChanges;) version = quick.Read().pool().version();
  // What the slow one was told of, one message after the other, adds up to what there is.
  int messages = 0;
  for (uint64_t version = 0; version < 1000 + kChanges; ++messages) {
    const auto message = slow.Read();
    ASSERT_GT(message.pool().version(), version);
    version = message.pool().version();
    for (const std::string& name : message.added()) EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(names.size(), static_cast<size_t>(message.pool().servers_size()));
  }
  EXPECT_LT(messages, kChanges);
}

// ---- all at once --------------------------------------------------------------------------

TEST_F(Membership, AStormOfUpdatesWithCancelledStreamsLeavesNothingOpen) {
  constexpr int kThreads = 6, kRounds = 40;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(t) + 1);
      for (int round = 0; round < kRounds; ++round) {
        Stream sidecar(membership_.get());
        Watch watch(membership_.get(), round % 2 == 0 ? "alpha" : "beta");
        const uint64_t lists = random() % 6;
        for (uint64_t nonce = 1; nonce <= lists; ++nonce) {
          membershippb::StreamServersRequest request =
              Update(random() % 2 == 0 ? "alpha" : "beta", nonce, static_cast<int>(random() % 5));
          request.set_updater(fmt::format("sidecar-{}", t % 3));
          if (random() % 5 == 0) request.add_servers();  // a bad one
          if (!sidecar.stream->Write(request)) break;
        }
        membershippb::StreamServersResponse response;
        if (lists > 0 && random() % 2 == 0) sidecar.stream->Read(&response);
        if (random() % 3 == 0) sidecar.stream->WritesDone();
        sidecar.context.TryCancel();
        watch.context.TryCancel();
        sidecar.Finish();
        watch.Finish();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(EveryStreamIsClosedOnce());
  EXPECT_TRUE(backend_.WaitFor([&] { return backend_.watching == 0; }));
  EXPECT_GE(backend_.opened, 1);
}

TEST_F(Membership, ShutdownEndsStreamsAndWatchesAndDoesNotWaitForThem) {
  backend_.Hold("beta");
  Stream sidecar(membership_.get());
  sidecar.stream->Write(Update("alpha", 1));
  sidecar.Read();
  sidecar.stream->Write(Update("beta", 2));  // is never answered
  Watch watch(membership_.get(), "alpha");
  watch.Read();
  ASSERT_TRUE(backend_.WaitFor([&] { return backend_.updates.size() == 2; }));
  const auto before = std::chrono::steady_clock::now();
  server_->Shutdown(15'000);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  EXPECT_EQ(sidecar.Finish().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(watch.Finish().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_TRUE(EveryStreamIsClosedOnce());
  EXPECT_EQ(backend_.watching, 0);
}

TEST_F(Membership, ShutdownCancelsACallThatTheBackendNeverAnswers) {
  backend_.Hold("alpha");
  grpc::Status status;
  std::thread caller([&] {
    membershippb::SetServersRequest request;
    request.set_pool("alpha");
    membershippb::SetServersResponse response;
    status = Call(membership_, &Stub::SetServers, request, &response);
  });
  ASSERT_TRUE(backend_.WaitFor([&] { return backend_.sets.size() == 1; }));
  server_->Shutdown(50);
  caller.join();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  backend_.Release("alpha");
}

}  // namespace
}  // namespace cashew::rpc
