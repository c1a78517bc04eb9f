#include "pkg/net/tls/tls_transport.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <random>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "pkg/net/event_loop.h"

namespace cashew::net {
namespace {

// ---- certificates, made for the run ---------------------------------------

struct Identity {
  EVP_PKEY* key = nullptr;
  X509* cert = nullptr;
  std::string key_file;
  std::string cert_file;
};

void AddExtension(X509* cert, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  ASSERT_NE(extension, nullptr) << value;
  X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
}

// Signed by `issuer`, or by itself when that is null: then it may sign others.
Identity MakeIdentity(const std::string& folder, const std::string& name, const Identity* issuer,
                      const char* alt_names) {
  static int serial = 0;
  Identity made;
  made.key = EVP_EC_gen("P-256");
  made.cert = X509_new();
  X509_set_version(made.cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.cert), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(made.cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made.cert), 24 * 3600);
  X509_set_pubkey(made.cert, made.key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.cert), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509* signer = issuer != nullptr ? issuer->cert : made.cert;
  X509_set_issuer_name(made.cert, X509_get_subject_name(signer));
  if (issuer == nullptr) {
    AddExtension(made.cert, signer, NID_basic_constraints, "critical,CA:TRUE");
    AddExtension(made.cert, signer, NID_key_usage, "critical,keyCertSign");
  }
  AddExtension(made.cert, signer, NID_subject_key_identifier, "hash");
  if (alt_names != nullptr) AddExtension(made.cert, signer, NID_subject_alt_name, alt_names);
  X509_sign(made.cert, issuer != nullptr ? issuer->key : made.key, EVP_sha256());

  made.key_file = folder + "/" + name + ".key";
  made.cert_file = folder + "/" + name + ".crt";
  FILE* file = fopen(made.key_file.c_str(), "w");
  PEM_write_PrivateKey(file, made.key, nullptr, nullptr, 0, nullptr, nullptr);
  fclose(file);
  file = fopen(made.cert_file.c_str(), "w");
  PEM_write_X509(file, made.cert);
  fclose(file);
  return made;
}

void Free(Identity* identity) {
  EVP_PKEY_free(identity->key);
  X509_free(identity->cert);
}

// ---- the two ends of a connection ------------------------------------------

IoResult Read(Transport& transport, std::string* into, size_t bytes = 64 << 10) {
  std::string buffer(bytes, '\0');
  const iovec iov{buffer.data(), bytes};
  const IoResult result = transport.Read(&iov, 1);
  if (result.status == IoStatus::kOk) into->append(buffer, 0, result.bytes);
  return result;
}

IoResult Write(Transport& transport, std::string_view bytes) {
  const iovec iov{const_cast<char*>(bytes.data()), bytes.size()};
  return transport.Write(&iov, 1);
}

std::string RandomBytes(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

using Factory = std::shared_ptr<const TransportFactory>;

class Tls : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    signal(SIGPIPE, SIG_IGN);  // as the process does
    char name[] = "/tmp/cashew-tls-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    ca_ = MakeIdentity(folder_, "ca", nullptr, nullptr);
    other_ca_ = MakeIdentity(folder_, "other-ca", nullptr, nullptr);
    server_id_ =
        MakeIdentity(folder_, "server", &ca_, "DNS:cache.test,DNS:*.shard.test,IP:127.0.0.1");
    client_id_ = MakeIdentity(folder_, "client", &ca_, nullptr);
    stranger_ = MakeIdentity(folder_, "stranger", &other_ca_, "DNS:cache.test");
  }
  static void TearDownTestSuite() {
    for (Identity* id : {&ca_, &other_ca_, &server_id_, &client_id_, &stranger_}) Free(id);
    std::filesystem::remove_all(folder_);
  }

  void SetUp() override {
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd_), 0);
  }
  void TearDown() override {
    for (const int fd : fd_) {
      if (fd >= 0) close(fd);
    }
  }

  static TlsServerOptions ServerOptions() {
    return {server_id_.cert_file, server_id_.key_file, ""};
  }
  static TlsClientOptions ClientOptions() { return {ca_.cert_file, "", "", "cache.test"}; }
  static Factory Server(const TlsServerOptions& options = ServerOptions()) {
    auto factory = NewTlsServerFactory(options);
    EXPECT_TRUE(factory.ok()) << factory.status();
    return factory.ok() ? *factory : nullptr;
  }
  static Factory Client(const TlsClientOptions& options = ClientOptions()) {
    auto factory = NewTlsClientFactory(options);
    EXPECT_TRUE(factory.ok()) << factory.status();
    return factory.ok() ? *factory : nullptr;
  }

  void MakeServer(const Factory& factory = Server()) {
    server_ = factory->New(std::exchange(fd_[0], -1));
  }
  void MakeClient(const Factory& factory = Client()) {
    client_ = factory->New(std::exchange(fd_[1], -1));
  }
  // Runs both handshakes as far as they get.
  std::pair<IoStatus, IoStatus> ShakeHands() {
    IoResult client{IoStatus::kAgain, false, 0, 0};
    IoResult server = client;
    for (int i = 0; i < 20; ++i) {
      if (client.status == IoStatus::kAgain) client = client_->Handshake();
      if (server.status == IoStatus::kAgain) server = server_->Handshake();
    }
    return {client.status, server.status};
  }
  void Connect() {
    MakeServer();
    MakeClient();
    ASSERT_EQ(ShakeHands(), std::make_pair(IoStatus::kOk, IoStatus::kOk));
  }

  static std::string folder_;
  static Identity ca_, other_ca_, server_id_, client_id_, stranger_;
  int fd_[2] = {-1, -1};  // those no transport has taken: the server's, the client's
  std::unique_ptr<Transport> server_;
  std::unique_ptr<Transport> client_;
};

std::string Tls::folder_;
Identity Tls::ca_, Tls::other_ca_, Tls::server_id_, Tls::client_id_, Tls::stranger_;

// ---- handshakes --------------------------------------------------------------

TEST_F(Tls, ShakesHandsAndCarriesBytesBothWays) {
  EXPECT_TRUE(Server()->encrypted());
  EXPECT_TRUE(Client()->encrypted());
  Connect();
  std::string got;
  EXPECT_EQ(Read(*server_, &got).status, IoStatus::kAgain);
  EXPECT_EQ(Write(*client_, "get key\r\n").bytes, 9u);
  EXPECT_EQ(Read(*server_, &got).status, IoStatus::kOk);
  EXPECT_EQ(got, "get key\r\n");
  EXPECT_EQ(Write(*server_, "END\r\n").bytes, 5u);
  got.clear();
  while (Read(*client_, &got).status == IoStatus::kOk) continue;
  EXPECT_EQ(got, "END\r\n");
}

TEST_F(Tls, AHandshakeWaitsForThePeer) {
  MakeServer();
  EXPECT_EQ(server_->Handshake().status, IoStatus::kAgain);
  MakeClient();
  EXPECT_EQ(client_->Handshake().status, IoStatus::kAgain);
  EXPECT_EQ(ShakeHands(), std::make_pair(IoStatus::kOk, IoStatus::kOk));
}

TEST_F(Tls, AServerSignedByAnotherAuthorityIsRefused) {
  TlsClientOptions options = ClientOptions();
  options.ca = other_ca_.cert_file;
  MakeServer();
  MakeClient(Client(options));
  EXPECT_EQ(ShakeHands(), std::make_pair(IoStatus::kError, IoStatus::kError));
  EXPECT_EQ(client_->Handshake().status, IoStatus::kError) << "and stays refused";
  std::string got;
  EXPECT_EQ(Read(*client_, &got).status, IoStatus::kError);
  EXPECT_EQ(Write(*client_, "x").status, IoStatus::kError);
}

TEST_F(Tls, AServerOfAnotherNameIsRefused) {
  for (const auto& [name, good] :
       std::vector<std::pair<std::string, bool>>{{"cache.test", true},
                                                 {"a.shard.test", true},
                                                 {"127.0.0.1", true},
                                                 {"", true},
                                                 {"other.test", false},
                                                 {"127.0.0.2", false},
                                                 {"a.b.shard.test", false}}) {
    TlsClientOptions options = ClientOptions();
    options.server_name = name;
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    server_ = Server()->New(pair[0]);
    client_ = Client(options)->New(pair[1]);
    EXPECT_EQ(ShakeHands().first, good ? IoStatus::kOk : IoStatus::kError) << name;
  }
}

TEST_F(Tls, AClientNeedsACertificateWhereOneIsAskedFor) {
  TlsServerOptions server = ServerOptions();
  server.client_ca = ca_.cert_file;
  const auto shake = [&](const Identity* id) {
    TlsClientOptions client = ClientOptions();
    if (id != nullptr) {
      client.cert = id->cert_file;
      client.key = id->key_file;
    }
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    server_ = Server(server)->New(pair[0]);
    client_ = Client(client)->New(pair[1]);
    return ShakeHands().second;
  };
  EXPECT_EQ(shake(&client_id_), IoStatus::kOk);
  EXPECT_EQ(shake(nullptr), IoStatus::kError);
  std::string got;
  EXPECT_EQ(Read(*client_, &got).status, IoStatus::kError) << "TLS 1.3 tells the client late";
  EXPECT_EQ(shake(&stranger_), IoStatus::kError) << "signed by somebody else";
}

TEST_F(Tls, GarbageInsteadOfAClientHelloIsAnError) {
  for (std::string_view garbage : {"get key\r\n", "\x80\x01\x00\x00\x00\x00\x00", "\x16\x03\x01",
                                   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    server_ = Server()->New(pair[0]);
    ASSERT_GT(write(pair[1], garbage.data(), garbage.size()), 0);
    shutdown(pair[1], SHUT_WR);
    IoResult result = server_->Handshake();
    for (int i = 0; i < 3 && result.status == IoStatus::kAgain; ++i) result = server_->Handshake();
    EXPECT_EQ(result.status, IoStatus::kError);
    EXPECT_NE(result.error, 0);
    close(pair[1]);
  }
}

TEST_F(Tls, RandomBytesNeverShakeHands) {
  const Factory server = Server();
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::string bytes = RandomBytes(1 + seed % 600, seed);
    if (seed % 2 == 0)
      bytes.insert(0, std::string("\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03", 11));
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    auto transport = server->New(pair[0]);
    ASSERT_GT(write(pair[1], bytes.data(), bytes.size()), 0);
    close(pair[1]);
    IoResult result = transport->Handshake();
    for (int i = 0; i < 5 && result.status == IoStatus::kAgain; ++i)
      result = transport->Handshake();
    ASSERT_EQ(result.status, IoStatus::kError) << seed;
  }
}

TEST_F(Tls, AHandshakeCutAnywhereIsAnError) {
  // What a client says first.
  MakeClient();
  ASSERT_EQ(client_->Handshake().status, IoStatus::kAgain);
  std::string hello(4096, '\0');
  const ssize_t n = read(fd_[0], hello.data(), hello.size());
  ASSERT_GT(n, 50);
  hello.resize(static_cast<size_t>(n));
  const Factory server = Server();
  for (size_t cut = 0; cut < hello.size(); cut += 7) {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    auto transport = server->New(pair[0]);
    ASSERT_EQ(write(pair[1], hello.data(), cut), static_cast<ssize_t>(cut));
    ASSERT_EQ(transport->Handshake().status, IoStatus::kAgain) << "cut at " << cut;
    close(pair[1]);
    ASSERT_EQ(transport->Handshake().status, IoStatus::kError) << "cut at " << cut;
  }
}

TEST_F(Tls, AClientWhoseServerGoesAwayInTheHandshakeGetsAnError) {
  MakeClient();
  ASSERT_EQ(client_->Handshake().status, IoStatus::kAgain);
  close(std::exchange(fd_[0], -1));
  const IoResult result = client_->Handshake();
  EXPECT_EQ(result.status, IoStatus::kError);
  EXPECT_EQ(result.error, ECONNRESET);
}

// ---- bytes -------------------------------------------------------------------

TEST_F(Tls, ReadSaysMoreUntilNothingIsLeft) {
  Connect();
  std::string got;
  while (Read(*client_, &got).status == IoStatus::kOk) continue;
  ASSERT_EQ(Write(*client_, "hello").bytes, 5u);
  const IoResult first = Read(*server_, &got, 3);
  EXPECT_EQ(first.bytes, 3u);
  EXPECT_TRUE(first.more) << "OpenSSL holds the rest: no edge will tell";
  const IoResult rest = Read(*server_, &got, 10);
  EXPECT_EQ(rest.bytes, 2u);
  EXPECT_FALSE(rest.more) << "the descriptor was found empty";
  EXPECT_EQ(Read(*server_, &got, 10).status, IoStatus::kAgain);
  EXPECT_EQ(got, "hello");
}

TEST_F(Tls, ReadsFillSeveralPiecesAcrossRecords) {
  Connect();
  for (const char* word : {"abc", "defg", "hi"}) Write(*client_, word);
  char a[2];
  char b[100];
  const iovec iov[] = {{a, sizeof a}, {b, sizeof b}};
  const IoResult result = server_->Read(iov, 2);
  EXPECT_EQ(result.bytes, 9u);
  EXPECT_EQ(std::string(a, 2) + std::string(b, 7), "abcdefghi");
}

TEST_F(Tls, SmallPiecesLeaveInOneRecord) {
  Connect();
  std::string word = "0123456789";
  std::vector<iovec> iov(100, iovec{word.data(), word.size()});
  ASSERT_EQ(client_->Write(iov.data(), 100).bytes, 1000u);
  int waiting = 0;
  ASSERT_EQ(ioctl(server_->fd(), FIONREAD, &waiting), 0);
  EXPECT_GT(waiting, 1000);
  EXPECT_LT(waiting, 1060) << "one record's overhead, not a hundred's";
  std::string got;
  while (Read(*server_, &got).status == IoStatus::kOk) continue;
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += word;
  EXPECT_EQ(got, expected);
}

TEST_F(Tls, PiecesOfAnySizeArriveInOrder) {
  Connect();
  std::mt19937 random(3);
  const std::string source = RandomBytes(200'000, 4);
  std::string got;
  for (int round = 0; round < 100; ++round) {
    std::vector<iovec> iov;
    std::string expected;
    size_t budget = 100'000;  // stays below what the socket holds
    for (int i = 0; i < 10; ++i) {
      const size_t size = std::min<size_t>(random() % (random() % 3 == 0 ? 40'000 : 200), budget);
      const size_t begin = random() % (source.size() - size);
      iov.push_back({const_cast<char*>(source.data()) + begin, size});
      expected.append(source, begin, size);
      budget -= size;
    }
    ASSERT_EQ(client_->Write(iov.data(), static_cast<int>(iov.size())).bytes, expected.size());
    got.clear();
    while (Read(*server_, &got, 1 + random() % 70'000).status == IoStatus::kOk) continue;
    ASSERT_TRUE(got == expected) << round;
  }
}

TEST_F(Tls, AWriteThatMustWaitGoesOnFromAnotherAddressWithMoreBehindIt) {
  Connect();
  const std::string source = RandomBytes(4 << 20, 5);
  IoResult result = Write(*client_, source);
  ASSERT_EQ(result.status, IoStatus::kOk);
  ASSERT_LT(result.bytes, source.size()) << "less than offered: the socket is full";
  size_t written = result.bytes;
  EXPECT_EQ(Write(*client_, std::string_view(source).substr(written)).status, IoStatus::kAgain);
  std::string got;
  std::mt19937 random(6);
  while (got.size() < source.size()) {
    Read(*server_, &got);
    // The bytes move, and come in other pieces than before, though never fewer.
    std::string moved = source.substr(written, 300'000);
    const size_t cut = moved.empty() ? 0 : random() % std::min<size_t>(moved.size(), 20'000);
    const iovec iov[] = {{moved.data(), cut}, {moved.data() + cut, moved.size() - cut}};
    result = client_->Write(iov, 2);
    ASSERT_TRUE(result.status == IoStatus::kOk || result.status == IoStatus::kAgain);
    written += result.bytes;
  }
  EXPECT_TRUE(got == source);
}

// Echoes, as an edge-triggered handler of the loop does: reads until there is no
// more, and after a short write waits for the next edge.
class Echo : public IoHandler {
 public:
  Echo(EventLoop* loop, std::unique_ptr<Transport> transport)
      : loop_(loop), transport_(std::move(transport)) {
    EXPECT_TRUE(loop->Add(transport_->fd(), this).ok());
  }
  void Send(std::string_view bytes) {
    out_ += bytes;
    loop_->MarkDirty(this);
  }
  void OnReady(uint32_t events) override {
    if ((events & EPOLLOUT) != 0) writable_ = true;
    if ((events & EPOLLIN) != 0) readable_ = true;
    if (!shaken_) {
      const IoResult result = transport_->Handshake();
      if (result.status != IoStatus::kOk) return;
      shaken_ = readable_ = true;
    }
    if (readable_) {
      std::string got;
      const IoResult result = Read(*transport_, &got, 10'000);
      readable_ = result.more;
      received += got;
      if (echoes) out_ += got;
      if (readable_) loop_->MarkReady(this);
    }
    loop_->MarkDirty(this);
  }
  void OnFlush() override {
    while (shaken_ && writable_ && !out_.empty()) {
      const IoResult result = Write(*transport_, out_);
      if (result.status != IoStatus::kOk || result.bytes < out_.size()) writable_ = false;
      out_.erase(0, result.bytes);
    }
  }
  std::string received;
  bool echoes = false;

 private:
  EventLoop* const loop_;
  const std::unique_ptr<Transport> transport_;
  std::string out_;
  bool shaken_ = false;
  bool readable_ = false;
  bool writable_ = false;
};

TEST_F(Tls, AMebibyteThereAndBackThroughAnEdgeTriggeredLoop) {
  const int small = 8 * 1024;  // so that writes must wait, again and again
  for (const int fd : fd_) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  EventLoop loop;
  MakeServer();
  MakeClient();
  Echo server(&loop, std::move(server_));
  Echo client(&loop, std::move(client_));
  server.echoes = true;
  const std::string source = RandomBytes(1 << 20, 8);
  client.Send(source);
  int idle = 0;
  while (client.received.size() < source.size() && idle < 50) {
    const size_t before = client.received.size() + server.received.size();
    loop.RunOnce(200);
    idle = client.received.size() + server.received.size() == before ? idle + 1 : 0;
  }
  EXPECT_TRUE(server.received == source);
  EXPECT_TRUE(client.received == source);
}

// ---- the end -----------------------------------------------------------------

TEST_F(Tls, AGoodbyeIsTheEndAndTheOtherSideMayStillAnswer) {
  Connect();
  Write(*client_, "quit\r\n");
  client_->ShutdownWrite();
  std::string got;
  const IoResult result = Read(*server_, &got);
  EXPECT_EQ(got, "quit\r\n");
  EXPECT_TRUE(result.more) << "the end is still to be read";
  EXPECT_EQ(Read(*server_, &got).status, IoStatus::kEof);
  EXPECT_EQ(Read(*server_, &got).status, IoStatus::kEof);
}

TEST_F(Tls, AServerThatSaidGoodbyeReadsOn) {
  Connect();
  server_->ShutdownWrite();
  std::string got;
  while (Read(*client_, &got).status == IoStatus::kOk) continue;
  EXPECT_EQ(Read(*client_, &got).status, IoStatus::kEof);
  char raw;
  EXPECT_EQ(recv(client_->fd(), &raw, 1, 0), 0) << "FIN follows close_notify";
}

TEST_F(Tls, APeerThatIsGoneWithoutAGoodbyeIsTheEndToo) {
  Connect();
  std::string got;
  while (Read(*client_, &got).status == IoStatus::kOk) continue;  // else it would say RST
  Write(*client_, "last");
  client_.reset();
  IoResult result = Read(*server_, &got);
  while (result.status == IoStatus::kOk) result = Read(*server_, &got);
  EXPECT_EQ(got, "last");
  EXPECT_EQ(result.status, IoStatus::kEof);
}

TEST_F(Tls, AWriteToAPeerThatIsGoneIsAnError) {
  Connect();
  client_.reset();
  EXPECT_EQ(Write(*server_, "x").status, IoStatus::kError);
  EXPECT_NE(Write(*server_, "x").error, 0);
}

TEST_F(Tls, GarbageAfterTheHandshakeIsAnError) {
  Connect();
  ASSERT_EQ(write(client_->fd(), "not a record", 12), 12);
  std::string got;
  const IoResult result = Read(*server_, &got);
  EXPECT_EQ(result.status, IoStatus::kError);
  EXPECT_EQ(result.error, EPROTO);
}

TEST_F(Tls, ShutdownBeforeTheHandshakeIsHarmless) {
  MakeServer();
  server_->ShutdownWrite();
  char byte;
  EXPECT_EQ(read(fd_[1], &byte, 1), 0);
  EXPECT_EQ(server_->Handshake().status, IoStatus::kAgain);
}

// ---- peers that do what our client does not -----------------------------------

class TlsRaw : public Tls {
 protected:
  void SetUp() override {
    Tls::SetUp();
    context_ = SSL_CTX_new(TLS_client_method());
    MakeServer();
  }
  void TearDown() override {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    Tls::TearDown();
  }
  // Our own handshake's result.
  IoStatus ShakeHandsRaw() {
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, fd_[1]);
    SSL_set_connect_state(ssl_);
    IoResult result{IoStatus::kAgain, false, 0, 0};
    for (int i = 0; i < 20; ++i) {
      SSL_do_handshake(ssl_);
      if (result.status == IoStatus::kAgain) result = server_->Handshake();
    }
    return result.status;
  }
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
};

TEST_F(TlsRaw, Tls12IsSpoken) {
  SSL_CTX_set_max_proto_version(context_, TLS1_2_VERSION);
  EXPECT_EQ(ShakeHandsRaw(), IoStatus::kOk);
  // A client that wants to negotiate anew is not obeyed.
  EXPECT_EQ(SSL_renegotiate(ssl_), 1);
  SSL_do_handshake(ssl_);
  std::string got;
  EXPECT_NE(Read(*server_, &got).status, IoStatus::kOk);
  EXPECT_LE(SSL_do_handshake(ssl_), 0);
}

TEST_F(TlsRaw, OlderVersionsAreRefused) {
  SSL_CTX_set_security_level(context_, 0);
  SSL_CTX_set_min_proto_version(context_, TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context_, TLS1_1_VERSION);
  EXPECT_EQ(ShakeHandsRaw(), IoStatus::kError);
}

TEST_F(TlsRaw, NewKeysInMidStreamChangeNothing) {
  ASSERT_EQ(ShakeHandsRaw(), IoStatus::kOk);
  std::string got;
  std::string expected;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(SSL_key_update(ssl_, SSL_KEY_UPDATE_REQUESTED), 1);
    const std::string word = "word" + std::to_string(i);
    ASSERT_EQ(SSL_write(ssl_, word.data(), static_cast<int>(word.size())),
              static_cast<int>(word.size()));
    expected += word;
    ASSERT_EQ(Read(*server_, &got).status, IoStatus::kOk);
    ASSERT_EQ(Write(*server_, "ok").bytes, 2u);
    char answer[2];
    ASSERT_EQ(SSL_read(ssl_, answer, 2), 2);
  }
  EXPECT_EQ(got, expected);
}

// Each request for new keys is to be answered; when the answers fill the socket of a
// peer that does not read them, the connection ends: it neither hangs nor spins.
TEST_F(TlsRaw, APeerThatAsksForNewKeysAndDoesNotReadIsGivenUp) {
  ASSERT_EQ(ShakeHandsRaw(), IoStatus::kOk);
  const int small = 4 * 1024;
  setsockopt(server_->fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  IoResult result;
  std::string got;
  for (int i = 0; i < 100'000 && result.status != IoStatus::kError; ++i) {
    if (SSL_key_update(ssl_, SSL_KEY_UPDATE_REQUESTED) == 1) SSL_write(ssl_, "x", 1);
    if (i % 16 == 0) result = Read(*server_, &got);
    if (i % 16 == 0 && result.status == IoStatus::kAgain) break;
  }
  EXPECT_TRUE(result.status == IoStatus::kError || result.status == IoStatus::kAgain);
  EXPECT_FALSE(result.more) << "no reason to come back at once";
}

// ---- files -------------------------------------------------------------------

void ExpectNames(const absl::Status& status, const std::string& file) {
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.ToString().find(file), std::string::npos) << status;
}

TEST_F(Tls, ErrorsNameTheFile) {
  const std::string absent = folder_ + "/absent.pem";
  const std::string garbage = folder_ + "/garbage.pem";
  std::ofstream(garbage) << "not a certificate\n";
  for (const std::string& bad : {absent, garbage}) {
    TlsServerOptions server = ServerOptions();
    server.cert = bad;
    ExpectNames(NewTlsServerFactory(server).status(), bad);
    server = ServerOptions();
    server.key = bad;
    ExpectNames(NewTlsServerFactory(server).status(), bad);
    server = ServerOptions();
    server.client_ca = bad;
    ExpectNames(NewTlsServerFactory(server).status(), bad);
    TlsClientOptions client = ClientOptions();
    client.ca = bad;
    ExpectNames(NewTlsClientFactory(client).status(), bad);
    client = ClientOptions();
    client.cert = bad;
    client.key = client_id_.key_file;
    ExpectNames(NewTlsClientFactory(client).status(), bad);
  }
  EXPECT_NE(NewTlsServerFactory({absent, absent, ""}).status().ToString().find("No such file"),
            std::string::npos);
}

TEST_F(Tls, AKeyThatBelongsToAnotherCertificateIsNamed) {
  TlsServerOptions options = ServerOptions();
  options.key = client_id_.key_file;
  const auto factory = NewTlsServerFactory(options);
  ExpectNames(factory.status(), client_id_.key_file);
  EXPECT_NE(factory.status().ToString().find("mismatch"), std::string::npos) << factory.status();
}

TEST_F(Tls, AKeyWithAPassphraseIsAnErrorAndAsksNobody) {
  const std::string locked = folder_ + "/locked.key";
  FILE* file = fopen(locked.c_str(), "w");
  char secret[] = "secret";
  PEM_write_PrivateKey(file, server_id_.key, EVP_aes_128_cbc(), nullptr, 0, nullptr, secret);
  fclose(file);
  TlsServerOptions options = ServerOptions();
  options.key = locked;
  ExpectNames(NewTlsServerFactory(options).status(), locked);
}

TEST_F(Tls, ACertificateWithoutAKeyIsAnError) {
  TlsClientOptions options = ClientOptions();
  options.cert = client_id_.cert_file;
  EXPECT_FALSE(NewTlsClientFactory(options).ok());
}

TEST_F(Tls, WithoutACaTheSystemsAuthoritiesJudge) {
  TlsClientOptions options = ClientOptions();
  options.ca = "";
  MakeServer();
  MakeClient(Client(options));
  EXPECT_EQ(ShakeHands().first, IoStatus::kError) << "they do not know our authority";
}

}  // namespace
}  // namespace cashew::net
