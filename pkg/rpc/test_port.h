// A running server on a unix socket in a folder of its own, over a FakeBackend; and raw HTTP/2
// for clients that misbehave. For the tests of this folder.
#pragma once

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "cashew/admin/v1/admin.grpc.pb.h"
#include "cashew/membership/v1/membership.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"

#include "pkg/rpc/fake_backend.h"
#include "pkg/rpc/server.h"

namespace cashew::rpc {

namespace membershippb = ::cashew::membership::v1;
namespace adminpb = ::cashew::admin::v1;

class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/cashew-rpc-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& file) const { return path_ + "/" + file; }

 private:
  std::string path_;
};

class RpcTest : public testing::Test {
 protected:
  void StartServer() {
    options_.address = "unix:" + (folder_ / "grpc.sock");
    auto started = Server::Start(options_, &backend_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    channel_ = NewChannel();
    membership_ = membershippb::MembershipService::NewStub(channel_);
    admin_ = adminpb::AdminService::NewStub(channel_);
  }

  // A connection that no other channel shares.
  std::shared_ptr<grpc::Channel> NewChannel(grpc::ChannelArguments arguments = {}) const {
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel("unix:" + (folder_ / "grpc.sock"),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  static void SetDeadline(grpc::ClientContext* context, int seconds = 20) {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
  }

  // One unary call: Call(membership_, &Stub::GetPool, request, &response).
  template <typename Stub, typename Request, typename Response>
  static grpc::Status Call(Stub& stub,
                           grpc::Status (Stub::element_type::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                           const Request& request, Response* response) {
    grpc::ClientContext context;
    SetDeadline(&context);
    return (*stub.*method)(&context, request, response);
  }

  TempFolder folder_;
  FakeBackend backend_;
  Server::Options options_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<membershippb::MembershipService::Stub> membership_;
  std::unique_ptr<adminpb::AdminService::Stub> admin_;
};

// A unary call in bytes, or the first answer of a stream that gets one request.
inline grpc::Status RawCall(const std::shared_ptr<grpc::Channel>& channel,
                            const std::string& method, const std::string& request,
                            std::string* answer) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  grpc::CompletionQueue queue;
  const auto wait = [&] {
    void* tag;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  wait();
  const grpc::Slice slice(request);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  wait();
  grpc::ByteBuffer buffer;
  call->Read(&buffer, nullptr);
  if (wait()) {
    grpc::Slice all;
    EXPECT_TRUE(buffer.DumpToSingleSlice(&all).ok());
    answer->assign(reinterpret_cast<const char*>(all.begin()), all.size());
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

// A blocking client of a unix socket.
class RawClient {
 public:
  explicit RawClient(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    path.copy(where.sun_path, sizeof(where.sun_path) - 1);
    error_ = connect(fd_, reinterpret_cast<sockaddr*>(&where), sizeof(where)) == 0 ? 0 : errno;
  }
  ~RawClient() { close(fd_); }

  int error() const { return error_; }

  bool Send(std::string_view bytes) {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }

  // The preface and empty settings: an HTTP/2 connection that asks for nothing.
  void SayHello() { Send(std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33)); }
  bool Ping() { return Send(std::string("\0\0\x8\6\0\0\0\0\0pingping", 17)); }

  // All that comes until the server closes; nothing is ever answered. False: it did not close.
  bool ReadToEnd(std::string* into, int timeout_ms = 20'000) {
    char buffer[4096];
    for (;;) {
      pollfd ready{fd_, POLLIN, 0};
      if (poll(&ready, 1, timeout_ms) <= 0) return false;
      const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
      if (got <= 0) return true;
      into->append(buffer, static_cast<size_t>(got));
    }
  }

 private:
  const int fd_;
  int error_ = 0;
};

}  // namespace cashew::rpc
