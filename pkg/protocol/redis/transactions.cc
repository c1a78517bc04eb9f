#include "fmt/format.h"

#include "pkg/protocol/redis/keys.h"
#include "pkg/protocol/redis/request_parser.h"

// MULTI … EXEC. The commands wait here and go to the server as one piece, so that on a
// shared connection nothing comes between them; of the replies only EXEC's is passed on.
// A WATCH gives the client a server connection of its own until it ends.

namespace cashew::protocol::redis {
namespace {

constexpr std::string_view kMulti = "*1\r\n$5\r\nMULTI\r\n";
constexpr std::string_view kExec = "*1\r\n$4\r\nEXEC\r\n";

// What may stand in a transaction: what a server answers without anything changing for
// the connection.
bool MayBeQueued(const CommandSpec& spec) {
  switch (spec.handling) {
    case Handling::kForward:
    case Handling::kBlocking:  // does not block in a transaction
    case Handling::kSplitList:
    case Handling::kSplitSum:
    case Handling::kSplitOk:
      return true;
    default:
      return spec.name == "ping" || spec.name == "echo" || spec.name == "time";
  }
}

}  // namespace

void RedisRequestParser::OnMulti(const Words& words, Command* out) {
  if (transaction_ != nullptr) {
    // redis does not count this one against the transaction.
    return Answer("-ERR MULTI calls can not be nested\r\n", out);
  }
  transaction_ = std::make_unique<Transaction>();
  transaction_->bytes = kMulti;
  AnswerOk(out);
}

void RedisRequestParser::Queue(const CommandSpec& spec, std::string_view message, Command* out) {
  if (spec.name == "quit" || spec.name == "reset") {
    transaction_.reset();
    return (this->*FindLocal(spec.name))(out->words, out);
  }
  if (!MayBeQueued(spec)) {
    return AnswerError(fmt::format("ERR '{}' cannot be part of a transaction here", spec.name),
                       out);
  }
  Transaction& transaction = *transaction_;
  if (transaction.bytes.size() + message.size() > limits_.max_value) {
    return AnswerError("ERR the transaction is larger than the pool's client_max_buffer", out);
  }
  if (!SetKeys(spec, out->words, out)) return;
  for (const std::string_view key : out->keys) {
    const auto offset = static_cast<size_t>(key.data() - message.data());
    transaction.keys.push_back({transaction.bytes.size() + offset, key.size()});
  }
  out->keys.clear();
  transaction.bytes.append(message);
  ++transaction.commands;
  Answer("+QUEUED\r\n", out);
}

void RedisRequestParser::OnExec(const Words& words, Command* out) {
  if (transaction_ == nullptr) return Answer("-ERR EXEC without MULTI\r\n", out);
  const std::unique_ptr<Transaction> transaction = std::move(transaction_);
  if (transaction->bad) {
    Answer("-EXECABORT Transaction discarded because of previous errors.\r\n", out);
    return Unwatch(out);
  }
  if (transaction->commands == 0 && !state_.watching) return Answer("*0\r\n", out);
  out->action = Action::kForward;
  out->group = state_.resp3 ? 1 : 0;
  out->interim = 1 + transaction->commands;
  out->rebuilt = std::move(transaction->bytes);
  out->rebuilt.append(kExec);
  out->head = out->rebuilt;
  out->shed_when_full = true;
  for (const Word& key : transaction->keys) {
    out->keys.push_back(out->head.substr(key.begin, key.length));
  }
  out->key = out->keys.empty() ? kPlaceholder : out->keys.front();
  if (state_.watching) {
    out->lease = Lease::kEnd;
    out->barrier = true;
    state_.watching = false;
  }
}

void RedisRequestParser::OnDiscard(const Words& words, Command* out) {
  if (transaction_ == nullptr) return Answer("-ERR DISCARD without MULTI\r\n", out);
  transaction_.reset();
  AnswerOk(out);
  Unwatch(out);
}

void RedisRequestParser::OnWatch(const CommandSpec& spec, std::string_view message, Command* out) {
  if (transaction_ != nullptr) {
    return Answer("-ERR WATCH inside MULTI is not allowed\r\n", out);
  }
  if (!SetKeys(spec, out->words, out)) return;
  Forward(spec, message, out);
  out->lease = Lease::kBegin;
  out->barrier = true;
  state_.watching = true;
}

void RedisRequestParser::OnUnwatch(const Words& words, Command* out) {
  if (transaction_ != nullptr) {
    return AnswerError("ERR 'unwatch' cannot be part of a transaction here", out);
  }
  AnswerOk(out);
  Unwatch(out);
}

// Gives the client's own connection up with this answer.
void RedisRequestParser::Unwatch(Command* out) {
  if (state_.watching) out->lease = Lease::kEnd;
  state_.watching = false;
}

}  // namespace cashew::protocol::redis
