#include "pkg/rpc/access.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string>
#include <vector>

#include "pkg/rpc/test_port.h"

namespace cashew::rpc {
namespace {

using grpc::StatusCode;

// ---- certificates, made for the run ------------------------------------------------------

template <typename T, void (*kFree)(T*)>
struct Freed {
  void operator()(T* object) const { kFree(object); }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509, X509_free>>;

struct Identity {
  Key key;
  Certificate cert;
};

void AddExtension(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  ASSERT_NE(extension, nullptr) << value;
  X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
}

// Signed by `issuer`; by itself when that is null, and then it may sign others.
Identity Make(const std::string& name, const Identity* issuer, const std::string& alt_names) {
  static int serial = 0;
  Identity made{Key(EVP_EC_gen("P-256")), Certificate(X509_new())};
  X509* cert = made.cert.get();
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), 24 * 3600);
  X509_set_pubkey(cert, made.key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509* signer = issuer != nullptr ? issuer->cert.get() : cert;
  X509_set_issuer_name(cert, X509_get_subject_name(signer));
  if (issuer == nullptr) AddExtension(cert, signer, NID_basic_constraints, "critical,CA:TRUE");
  if (!alt_names.empty()) AddExtension(cert, signer, NID_subject_alt_name, alt_names);
  X509_sign(cert, issuer != nullptr ? issuer->key.get() : made.key.get(), EVP_sha256());
  return made;
}

std::string KeyPem(const Identity& identity) {
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(out, identity.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  const std::string pem(text, static_cast<size_t>(size));
  BIO_free(out);
  return pem;
}

std::string CertPem(const Identity& identity) {
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(out, identity.cert.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  const std::string pem(text, static_cast<size_t>(size));
  BIO_free(out);
  return pem;
}

class Access : public RpcTest {
 protected:
  void SetUp() override {
    backend_.Publish(MakeView("alpha", 2, 5));
    Install(server_identity_);
    Write("ca.crt", CertPem(client_ca_));
    options_.address = "127.0.0.1:0";
    options_.tls = TlsOptions{.cert = folder_ / "server.crt",
                              .key = folder_ / "server.key",
                              .client_ca = folder_ / "ca.crt",
                              .allowed_sans = {"sidecar.example", "spiffe://example/sidecar"},
                              .admin_sans = {"operator.example"}};
  }

  void Start() {
    auto started = Server::Start(options_, &backend_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    // A thread of gRPC's reads the certificates: until it has, connections fail and are tried
    // again, as this call waits for. Whether it is allowed is for the cases.
    grpc::ClientContext context;
    SetDeadline(&context);
    context.set_wait_for_ready(true);
    membershippb::ListPoolsResponse response;
    membershippb::MembershipService::NewStub(ChannelAs(&sidecar_, server_identity_))
        ->ListPools(&context, {}, &response);
  }

  // In place at once, as a certificate manager does it.
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / (name + ".new")) << text;
    std::filesystem::rename(folder_ / (name + ".new"), folder_ / name);
  }
  void Install(const Identity& identity) {
    Write("server.key", KeyPem(identity));
    Write("server.crt", CertPem(identity));
  }

  // A channel that shows this certificate (none: null) and trusts this server.
  std::shared_ptr<grpc::Channel> ChannelAs(const Identity* client, const Identity& trusted) const {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = CertPem(trusted);
    if (client != nullptr) {
      tls.pem_private_key = KeyPem(*client);
      tls.pem_cert_chain = CertPem(*client);
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(fmt::format("127.0.0.1:{}", server_->port()),
                                     grpc::SslCredentials(tls), arguments);
  }

  grpc::Status ListPools(const Identity* client) const {
    auto stub = membershippb::MembershipService::NewStub(ChannelAs(client, server_identity_));
    membershippb::ListPoolsResponse response;
    return Call(stub, &membershippb::MembershipService::Stub::ListPools, {}, &response);
  }
  grpc::Status GetStats(const Identity* client) const {
    auto stub = adminpb::AdminService::NewStub(ChannelAs(client, server_identity_));
    adminpb::GetStatsResponse response;
    return Call(stub, &adminpb::AdminService::Stub::GetStats, {}, &response);
  }

  const Identity client_ca_ = Make("clients", nullptr, "");
  const Identity server_identity_ = Make("server", nullptr, "IP:127.0.0.1");
  const Identity sidecar_ = Make("sidecar", &client_ca_, "DNS:other.example,DNS:sidecar.example");
  const Identity spiffe_ = Make("spiffe", &client_ca_, "URI:spiffe://example/sidecar");
  const Identity operator_ = Make("operator", &client_ca_, "DNS:operator.example");
  const Identity stranger_ = Make("stranger", &client_ca_, "DNS:a.example,DNS:b.example");
  const Identity nameless_ = Make("sidecar.example", &client_ca_, "");
};

TEST_F(Access, NamesOfTheCertificateDecideWhichServiceMayBeCalled) {
  Start();
  EXPECT_TRUE(ListPools(&sidecar_).ok()) << ListPools(&sidecar_).error_message();
  EXPECT_TRUE(ListPools(&spiffe_).ok());
  EXPECT_TRUE(GetStats(&operator_).ok());

  grpc::Status status = GetStats(&sidecar_);
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message(),
            "the client certificate is for other.example, sidecar.example; grpc_tls.admin_sans "
            "lists none of it");
  status = ListPools(&operator_);
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message(),
            "the client certificate is for operator.example; grpc_tls.allowed_sans lists none of "
            "it");
  EXPECT_EQ(ListPools(&stranger_).error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(GetStats(&stranger_).error_code(), StatusCode::PERMISSION_DENIED);
}

TEST_F(Access, TheSubjectIsNoName) {
  Start();
  const grpc::Status status = ListPools(&nameless_);
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message(),
            "the client certificate is for no name; grpc_tls.allowed_sans lists none of it");
}

TEST_F(Access, StreamsAndTheServicesOfGrpcItselfAreCheckedToo) {
  Start();
  const auto channel = ChannelAs(&stranger_, server_identity_);
  auto stub = membershippb::MembershipService::NewStub(channel);
  grpc::ClientContext context;
  SetDeadline(&context);
  auto stream = stub->StreamServers(&context);
  membershippb::StreamServersResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(backend_.opened, 0);

  for (const char* method : {"/grpc.health.v1.Health/Check",
                             "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    const auto call = [&](const Identity* client) {
      std::string answer;
      return RawCall(ChannelAs(client, server_identity_), method, "", &answer).error_code();
    };
    EXPECT_EQ(call(&stranger_), StatusCode::PERMISSION_DENIED) << method;
    EXPECT_NE(call(&sidecar_), StatusCode::PERMISSION_DENIED) << method;
  }
}

TEST_F(Access, WithoutACertificateOfTheRightSignerThereIsNoConnection) {
  Start();
  EXPECT_EQ(ListPools(nullptr).error_code(), StatusCode::UNAVAILABLE);
  const Identity forged = Make("forged", &server_identity_, "DNS:sidecar.example");
  EXPECT_EQ(ListPools(&forged).error_code(), StatusCode::UNAVAILABLE);
  const Identity self_signed = Make("self", nullptr, "DNS:sidecar.example");
  EXPECT_EQ(ListPools(&self_signed).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_TRUE(ListPools(&sidecar_).ok()) << "others are not disturbed";
}

TEST_F(Access, PlainTextIsNotServed) {
  Start();
  auto stub = membershippb::MembershipService::NewStub(grpc::CreateChannel(
      fmt::format("127.0.0.1:{}", server_->port()), grpc::InsecureChannelCredentials()));
  membershippb::ListPoolsResponse response;
  EXPECT_EQ(
      Call(stub, &membershippb::MembershipService::Stub::ListPools, {}, &response).error_code(),
      StatusCode::UNAVAILABLE);
}

TEST_F(Access, NewConnectionsGetTheCertificateThatReplacedTheOld) {
  Start();
  EXPECT_TRUE(ListPools(&sidecar_).ok());
  const Identity next = Make("next", nullptr, "IP:127.0.0.1");
  Install(next);
  grpc::Status status;
  for (int tries = 0; tries < 20; ++tries) {  // the files are looked at every second
    auto stub = membershippb::MembershipService::NewStub(ChannelAs(&sidecar_, next));
    membershippb::ListPoolsResponse response;
    grpc::ClientContext context;
    SetDeadline(&context, 1);
    context.set_wait_for_ready(true);
    status = stub->ListPools(&context, {}, &response);
    if (status.ok()) break;
  }
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(ListPools(&sidecar_).error_code(), StatusCode::UNAVAILABLE) << "trusts the old one";
}

TEST_F(Access, AWiderAddressIsServedWithTls) {
  options_.address = "0.0.0.0:0";
  Start();
  EXPECT_TRUE(ListPools(&sidecar_).ok());
}

TEST_F(Access, SaysWhichFileIsWrong) {
  const auto error = [&] {
    return std::string(Server::Start(options_, &backend_).status().message());
  };
  options_.tls->allowed_sans.clear();
  EXPECT_EQ(error(), "grpc_tls.allowed_sans is missing");
  options_.tls->allowed_sans = {"x"};
  options_.tls->cert = folder_ / "none.crt";
  EXPECT_EQ(error(),
            fmt::format("grpc_tls.cert: {}: No such file or directory", folder_ / "none.crt"));
  options_.tls->cert = folder_ / "server.crt";
  Write("server.key", KeyPem(sidecar_));
  EXPECT_EQ(error(), fmt::format("grpc_tls.key: {}: is not the key of {}", folder_ / "server.key",
                                 folder_ / "server.crt"));
  Write("server.key", "junk");
  EXPECT_EQ(error().find(fmt::format("grpc_tls.key: {}: ", folder_ / "server.key")), 0u);
  Install(server_identity_);
  Write("ca.crt", "junk");
  EXPECT_EQ(error().find(fmt::format("grpc_tls.client_ca: {}: ", folder_ / "ca.crt")), 0u);
}

}  // namespace
}  // namespace cashew::rpc
