#include "pkg/k8s/sender.h"

#include <condition_variable>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mutex>
#include <unistd.h>

namespace cashew::k8s {
namespace {

namespace pb = membership::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A proxy's side of StreamServers: keeps the requests and answers each as `answer` says.
class Proxy : public pb::MembershipService::Service {
 public:
  // Fills the response; false: no answer to this request.
  using Answer = std::function<bool(const pb::StreamServersRequest&, pb::StreamServersResponse*)>;

  grpc::Status StreamServers(grpc::ServerContext* context,
                             grpc::ServerReaderWriter<pb::StreamServersResponse,
                                                      pb::StreamServersRequest>* stream) override {
    pb::StreamServersRequest request;
    while (stream->Read(&request)) {
      pb::StreamServersResponse response;
      response.set_pool(request.pool());
      response.set_nonce(request.nonce());
      std::unique_lock lock(mutex_);
      requests_.push_back(request);
      const bool answered = answer_ == nullptr || answer_(request, &response);
      changed_.notify_all();
      lock.unlock();
      if (answered) stream->Write(response);
    }
    std::lock_guard lock(mutex_);
    (context->IsCancelled() ? cut_ : ended_)++;
    changed_.notify_all();
    return grpc::Status::OK;
  }

  void set_answer(Answer answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }

  std::vector<pb::StreamServersRequest> WaitForRequests(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return requests_.size() >= count; }))
        << requests_.size() << " requests came, not " << count;
    return requests_;
  }

  // Streams that the client ended in good order.
  int WaitForEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return ended_ + cut_ > 0; });
    return ended_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Answer answer_;
  std::vector<pb::StreamServersRequest> requests_;
  int ended_ = 0;
  int cut_ = 0;
};

bool Refuse(const pb::StreamServersRequest&, pb::StreamServersResponse* response) {
  response->mutable_error()->set_code(3);
  response->mutable_error()->set_message("duplicate name \"a\"");
  return true;
}

class SenderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("cashew-sender-{}", getpid());
    std::filesystem::create_directories(folder_);
    target_ = "unix:" + (folder_ / "grpc.sock").string();
    StartProxy();
    options_.updater = "web-0";
    options_.reconnect = {.first_ms = 5, .max_ms = 50};
    options_.refused = {.first_ms = 5, .max_ms = 50};
  }

  void TearDown() override {
    if (sender_) sender_->Stop();
    StopProxy();
    std::filesystem::remove_all(folder_);
  }

  void StartProxy() {
    proxy_ = std::make_unique<Proxy>();
    grpc::ServerBuilder builder;
    builder.AddListeningPort(target_, grpc::InsecureServerCredentials());
    builder.RegisterService(proxy_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

  void StopProxy() {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  void StartSender() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 10);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    sender_ = std::make_unique<Sender>(
        options_, grpc::CreateCustomChannel(target_, grpc::InsecureChannelCredentials(), arguments),
        std::vector<std::string>{"cache", "sessions"}, metrics_,
        [this](const std::string& pool, const absl::Status& status) {
          std::lock_guard lock(mutex_);
          answers_.push_back(fmt::format("{} {}", pool, status.ToString()));
          changed_.notify_all();
        });
    sender_->Start();
  }

  std::vector<std::string> WaitForAnswers(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return answers_.size() >= count; }));
    return answers_;
  }

  static ServerList List(const std::string& address, const std::string& version = "7") {
    return {.servers = {{.name = "mc-0",
                         .address = address,
                         .zone = "z",
                         .state = ServerState::kDraining}},
            .source_version = version};
  }

  std::filesystem::path folder_;
  std::string target_;
  Metrics metrics_;
  SenderOptions options_;
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Sender> sender_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> answers_;
};

TEST_F(SenderTest, SendsTheWholeListAndIsReadyWhenEveryPoolIsAcknowledged) {
  StartSender();
  EXPECT_THAT(sender_->NeverAcked(), ElementsAre("cache", "sessions"));
  sender_->Set("cache", List("10.0.0.1:11211"));
  EXPECT_THAT(WaitForAnswers(1), ElementsAre("cache OK"));
  EXPECT_THAT(sender_->NeverAcked(), ElementsAre("sessions"));
  sender_->Set("sessions", List("10.0.0.2:6379"));
  WaitForAnswers(2);
  EXPECT_THAT(sender_->NeverAcked(), IsEmpty());
  const auto request = proxy_->WaitForRequests(1)[0];
  EXPECT_EQ(request.pool(), "cache");
  EXPECT_EQ(request.updater(), "web-0");
  EXPECT_EQ(request.source_version(), "7");
  EXPECT_NE(request.nonce(), 0U);
  ASSERT_EQ(request.servers_size(), 1);
  EXPECT_EQ(request.servers(0).name(), "mc-0");
  EXPECT_EQ(request.servers(0).address(), "10.0.0.1:11211");
  EXPECT_EQ(request.servers(0).zone(), "z");
  EXPECT_EQ(request.servers(0).state(), pb::SERVER_STATE_DRAINING);
  EXPECT_FALSE(request.servers(0).has_weight());
}

TEST_F(SenderTest, ListWithTheSameServersIsNotSentAgain) {
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211", "7"));
  WaitForAnswers(1);
  sender_->Set("cache", List("10.0.0.1:11211", "8"));
  sender_->Set("cache", List("10.0.0.2:11211", "9"));
  EXPECT_EQ(proxy_->WaitForRequests(2)[1].source_version(), "9");
}

TEST_F(SenderTest, RefusedListIsTriedAgainUntilItIsTaken) {
  proxy_->set_answer(&Refuse);
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211"));
  EXPECT_THAT(WaitForAnswers(2)[1], HasSubstr("duplicate name"));
  EXPECT_THAT(sender_->NeverAcked(), ElementsAre("cache", "sessions"));
  proxy_->set_answer(nullptr);
  const size_t so_far = proxy_->WaitForRequests(2).size();
  proxy_->WaitForRequests(so_far + 1);
  const auto answers = WaitForAnswers(so_far + 1);
  EXPECT_EQ(answers.back(), "cache OK");
  EXPECT_THAT(metrics_.Text(), HasSubstr("cashew_sidecar_updates_acked_total{pool=\"cache\"} 1"));
}

TEST_F(SenderTest, RefusedListThatChangesIsSentAtOnce) {
  options_.refused = {.first_ms = 3'600'000, .max_ms = 3'600'000};
  proxy_->set_answer(&Refuse);
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211"));
  WaitForAnswers(1);
  proxy_->set_answer(nullptr);
  sender_->Set("cache", List("10.0.0.2:11211"));
  EXPECT_EQ(WaitForAnswers(2)[1], "cache OK");
}

TEST_F(SenderTest, ProxyThatRestartsGetsTheNewestLists) {
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211"));
  sender_->Set("sessions", List("10.0.0.5:6379"));
  WaitForAnswers(2);
  StopProxy();
  sender_->Set("cache", List("10.0.0.2:11211"));
  StartProxy();
  const auto requests = proxy_->WaitForRequests(2);
  EXPECT_EQ(requests[0].servers(0).address(), "10.0.0.2:11211");
  EXPECT_EQ(requests[1].servers(0).address(), "10.0.0.5:6379");
}

TEST_F(SenderTest, ProxyThatIsNotThereYetGetsTheListWhenItComes) {
  StopProxy();
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211"));
  StartProxy();
  EXPECT_THAT(WaitForAnswers(1), ElementsAre("cache OK"));
}

TEST_F(SenderTest, ListWithoutAnAnswerIsSentOnANewStream) {
  options_.answer_timeout_ms = 50;
  proxy_->set_answer([](const auto&, auto*) { return false; });
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211"));
  proxy_->WaitForRequests(2);
  proxy_->set_answer(nullptr);
  EXPECT_EQ(WaitForAnswers(1)[0], "cache OK");
}

TEST_F(SenderTest, AnswerToAnotherNonceIsNoAnswer) {
  options_.answer_timeout_ms = 100;
  proxy_->set_answer([](const auto& request, auto* response) {
    response->set_nonce(request.nonce() + 1);
    return true;
  });
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211"));
  proxy_->WaitForRequests(2);
  EXPECT_THAT(sender_->NeverAcked(), ElementsAre("cache", "sessions"));
}

TEST_F(SenderTest, StopEndsTheStreamInGoodOrder) {
  StartSender();
  sender_->Set("cache", List("10.0.0.1:11211"));
  WaitForAnswers(1);
  sender_->Stop();
  EXPECT_EQ(proxy_->WaitForEnd(), 1);
}

}  // namespace
}  // namespace cashew::k8s
