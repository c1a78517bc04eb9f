#include "pkg/net/tls/tls_transport.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::net {
namespace {

constexpr size_t kRecord = 16 * 1024;  // the most that one TLS record carries

struct ContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using Context = std::unique_ptr<SSL_CTX, ContextDeleter>;

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

// The oldest error queued: OpenSSL's later ones say where it gave up.
std::string OpenSslError() {
  const unsigned long code = ERR_peek_error();  // NOLINT(google-runtime-int): OpenSSL's type
  if (code == 0) return "unknown error";
  if (ERR_SYSTEM_ERROR(code)) return strerror(ERR_GET_REASON(code));
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : fmt::format("error {:#x}", code);
}

// Bytes of several pieces as stretches of at most a record: short ones copied
// together, long ones in place. The same pieces, or the same and more, give the
// same first stretch or a longer one, as OpenSSL wants when it is asked again.
class RecordSource {
 public:
  RecordSource(const iovec* iov, int count) : iov_(iov), count_(count) { SkipEmpty(); }

  // Empty at the end. Holds until the next call on this thread.
  std::string_view Next() {
    if (count_ == 0) return {};
    const std::string_view first = Front();
    if (first.size() >= kRecord || count_ == 1) return first.substr(0, kRecord);
    thread_local char together[kRecord];
    size_t filled = 0;
    size_t offset = offset_;
    for (int i = 0; i < count_ && filled < kRecord; ++i) {
      const size_t take = std::min(iov_[i].iov_len - offset, kRecord - filled);
      if (take > 0) memcpy(together + filled, static_cast<char*>(iov_[i].iov_base) + offset, take);
      filled += take;
      offset = 0;
    }
    return {together, filled};
  }

  void Advance(size_t bytes) {
    while (bytes > 0) {
      const size_t take = std::min(bytes, iov_->iov_len - offset_);
      offset_ += take;
      bytes -= take;
      SkipEmpty();
    }
  }

 private:
  std::string_view Front() const {
    return {static_cast<const char*>(iov_->iov_base) + offset_, iov_->iov_len - offset_};
  }
  void SkipEmpty() {
    while (count_ > 0 && offset_ == iov_->iov_len) {
      ++iov_;
      --count_;
      offset_ = 0;
    }
  }

  const iovec* iov_;
  int count_;
  size_t offset_ = 0;
};

class TlsTransport final : public Transport {
 public:
  // `ssl` may be null, when memory was short: then everything fails.
  TlsTransport(int fd, SSL* ssl) : Transport(fd), ssl_(ssl) {
    if (ssl_ == nullptr || SSL_set_fd(ssl, fd) != 1) ended_ = {IoStatus::kError, false, ENOMEM, 0};
  }
  ~TlsTransport() override {
    ERR_clear_error();
    ssl_.reset();
    close(fd_);
  }

  IoResult Handshake() override {
    if (ended()) return ended_;
    Prepare();
    const int rc = SSL_do_handshake(ssl_.get());
    if (rc == 1) return {};
    const IoResult result = Failed(rc);
    if (result.status == IoStatus::kAgain) return result;
    // The end of the connection, too, is a failure here.
    if (result.status == IoStatus::kEof) ended_ = {IoStatus::kError, false, ECONNRESET, 0};
    // Our own connections matter to the operator; what knocks at our door is often a scan.
    const bool server = SSL_is_server(ssl_.get()) != 0;
    CASHEW_LOG(server ? base::Severity::kInfo : base::Severity::kNotice,
               "tls handshake failed side={} why=\"{}\"", server ? "server" : "client", why_);
    return ended_;
  }

  IoResult Read(const iovec* iov, int count) override {
    if (ended()) return ended_;
    size_t got = 0;
    for (int i = 0; i < count; ++i) {
      auto* at = static_cast<char*>(iov[i].iov_base);
      size_t room = iov[i].iov_len;
      while (room > 0) {
        size_t n = 0;
        Prepare();
        const int rc = SSL_read_ex(ssl_.get(), at, room, &n);
        if (rc != 1) return EndOfRead(Failed(rc), got);
        at += n;
        room -= n;
        got += n;
      }
    }
    return {IoStatus::kOk, true, 0, got};
  }

  IoResult Write(const iovec* iov, int count) override {
    if (ended()) return ended_;
    RecordSource source(iov, count);
    size_t written = 0;
    for (std::string_view record = source.Next(); !record.empty(); record = source.Next()) {
      size_t n = 0;
      Prepare();
      const int rc = SSL_write_ex(ssl_.get(), record.data(), record.size(), &n);
      if (rc != 1) {
        const IoResult result = Failed(rc);
        if (result.status != IoStatus::kAgain) return WriteEnded();
        return written > 0 ? IoResult{IoStatus::kOk, false, 0, written} : result;
      }
      source.Advance(n);
      written += n;
    }
    return {IoStatus::kOk, false, 0, written};
  }

  void ShutdownWrite() override {
    const bool established = !ended() && SSL_is_init_finished(ssl_.get()) != 0;
    if (established) {
      Prepare();
      SSL_shutdown(ssl_.get());  // close_notify; a full socket loses it, and FIN says the same
    }
    shutdown(fd_, SHUT_WR);
  }

 private:
  bool ended() const { return ended_.status != IoStatus::kOk; }

  // OpenSSL judges a call by the thread's error queue and errno: both must be clean.
  static void Prepare() {
    ERR_clear_error();
    errno = 0;
  }

  // What a call that failed means. Lasting results are kept in ended_.
  IoResult Failed(int rc) {
    const int saved = errno;
    switch (SSL_get_error(ssl_.get(), rc)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return {IoStatus::kAgain, false, 0, 0};
      case SSL_ERROR_ZERO_RETURN:
        why_ = "the peer closed the connection";
        ended_ = {IoStatus::kEof, false, 0, 0};
        break;
      case SSL_ERROR_SYSCALL:
        why_ = saved != 0 ? strerror(saved) : "the peer closed the connection";
        ended_ = {IoStatus::kError, false, saved != 0 ? saved : ECONNRESET, 0};
        break;
      default:
        why_ = OpenSslError();
        if (const auto verdict = SSL_get_verify_result(ssl_.get()); verdict != X509_V_OK) {
          why_ += fmt::format(": {}", X509_verify_cert_error_string(verdict));
        }
        ended_ = {IoStatus::kError, false, EPROTO, 0};
    }
    ERR_clear_error();
    return ended_;
  }

  // `result` ended a read that had got some bytes already.
  IoResult EndOfRead(const IoResult& result, size_t got) {
    // A key update is to be answered, and the peer does not read. With input left
    // in OpenSSL's buffer no edge would bring us back here.
    const bool stuck = result.status == IoStatus::kAgain && SSL_want_write(ssl_.get()) &&
                       SSL_has_pending(ssl_.get()) != 0;
    if (stuck) ended_ = {IoStatus::kError, false, EPROTO, 0};
    if (got > 0) return {IoStatus::kOk, ended(), 0, got};
    return stuck ? ended_ : result;
  }

  // Bytes are lost: that is an error for the writer, while a reader may see the end.
  IoResult WriteEnded() const {
    if (ended_.status == IoStatus::kError) return ended_;
    return {IoStatus::kError, false, EPIPE, 0};
  }

  std::unique_ptr<SSL, SslDeleter> ssl_;
  IoResult ended_;  // kOk while the connection is of use
  std::string why_;
};

class TlsFactory final : public TransportFactory {
 public:
  // `host` is sent as SNI by a client, unless it is empty.
  TlsFactory(Context context, bool server, std::string host)
      : context_(std::move(context)), server_(server), host_(std::move(host)) {}

  std::unique_ptr<Transport> New(int fd) const override {
    ERR_clear_error();
    SSL* ssl = SSL_new(context_.get());
    if (ssl != nullptr && server_) SSL_set_accept_state(ssl);
    if (ssl != nullptr && !server_) {
      SSL_set_connect_state(ssl);
      if (!host_.empty()) SSL_set_tlsext_host_name(ssl, host_.c_str());
    }
    return std::make_unique<TlsTransport>(fd, ssl);
  }
  bool encrypted() const override { return true; }
  int64_t certificate_expiry_us() const override {
    const X509* certificate = SSL_CTX_get0_certificate(context_.get());
    tm when{};
    if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1) {
      return 0;
    }
    return int64_t{timegm(&when)} * 1'000'000;
  }

 private:
  const Context context_;
  const bool server_;
  const std::string host_;
};

absl::Status FileError(std::string_view what, const std::string& file) {
  return absl::InvalidArgumentError(
      fmt::format("TLS: cannot use {} file \"{}\": {}", what, file, OpenSslError()));
}

// A key with a passphrase is an error; OpenSSL would ask for it on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::StatusOr<Context> NewContext(const SSL_METHOD* method) {
  ERR_clear_error();
  Context context(SSL_CTX_new(method));
  if (context == nullptr || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) {
    return absl::InternalError(fmt::format("TLS: cannot set up OpenSSL: {}", OpenSslError()));
  }
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE |
                                         SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  // One read(2) takes a record whole, instead of its header and then the rest.
  SSL_CTX_set_read_ahead(context.get(), 1);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_default_passwd_cb(context.get(), NoPassphrase);
  return context;
}

absl::Status UseKeyPair(SSL_CTX* context, const std::string& cert, const std::string& key) {
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, cert.c_str()) != 1) {
    return FileError("certificate", cert);
  }
  ERR_clear_error();
  // A key that does not fit the certificate is told from one that cannot be read.
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return FileError("key", key);
  }
  ERR_clear_error();
  if (SSL_CTX_check_private_key(context) != 1) return FileError("key", key);
  return absl::OkStatus();
}

absl::Status TrustFile(SSL_CTX* context, const std::string& ca) {
  ERR_clear_error();
  if (SSL_CTX_load_verify_file(context, ca.c_str()) == 1) return absl::OkStatus();
  return FileError("CA", ca);
}

bool IsIpAddress(const std::string& name) {
  in6_addr any;
  return inet_pton(AF_INET, name.c_str(), &any) == 1 ||
         inet_pton(AF_INET6, name.c_str(), &any) == 1;
}

absl::Status RequireName(SSL_CTX* context, const std::string& name) {
  X509_VERIFY_PARAM* param = SSL_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const int ok = IsIpAddress(name) ? X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str())
                                   : X509_VERIFY_PARAM_set1_host(param, name.c_str(), name.size());
  if (ok == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("TLS: \"{}\" is not a server name", name));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TransportFactory>> NewTlsServerFactory(
    const TlsServerOptions& options) {
  absl::StatusOr<Context> made = NewContext(TLS_server_method());
  if (!made.ok()) return made.status();
  SSL_CTX* context = made->get();
  if (auto status = UseKeyPair(context, options.cert, options.key); !status.ok()) return status;
  // Resumption is by ticket, so no worker keeps sessions; one ticket is what a
  // client that reconnects needs.
  SSL_CTX_set_num_tickets(context, 1);
  if (!options.client_ca.empty()) {
    if (auto status = TrustFile(context, options.client_ca); !status.ok()) return status;
    ERR_clear_error();
    STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(options.client_ca.c_str());
    if (names == nullptr) return FileError("CA", options.client_ca);
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    // Tickets of verified clients are refused without one.
    constexpr unsigned char kSessionContext[] = "cashew";
    SSL_CTX_set_session_id_context(context, kSessionContext, sizeof kSessionContext - 1);
  }
  return std::make_shared<TlsFactory>(*std::move(made), /*server=*/true, "");
}

absl::StatusOr<std::shared_ptr<const TransportFactory>> NewTlsClientFactory(
    const TlsClientOptions& options) {
  absl::StatusOr<Context> made = NewContext(TLS_client_method());
  if (!made.ok()) return made.status();
  SSL_CTX* context = made->get();
  if (!options.cert.empty() || !options.key.empty()) {
    if (auto status = UseKeyPair(context, options.cert, options.key); !status.ok()) return status;
  }
  if (options.ca.empty()) {
    SSL_CTX_set_default_verify_paths(context);
  } else if (auto status = TrustFile(context, options.ca); !status.ok()) {
    return status;
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  std::string host;
  if (!options.server_name.empty()) {
    if (auto status = RequireName(context, options.server_name); !status.ok()) return status;
    if (!IsIpAddress(options.server_name)) host = options.server_name;
  }
  return std::make_shared<TlsFactory>(*std::move(made), /*server=*/false, std::move(host));
}

}  // namespace cashew::net
