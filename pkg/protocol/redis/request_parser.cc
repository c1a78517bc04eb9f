#include "pkg/protocol/redis/request_parser.h"

#include <algorithm>
#include <atomic>

#include "fmt/format.h"

#include "pkg/protocol/redis/keys.h"
#include "pkg/protocol/redis/reply_parser.h"
#include "pkg/protocol/redis/reply_writer.h"
#include "pkg/protocol/redis/words.h"

namespace cashew::protocol::redis {
namespace {

// How much of an unknown command is shown back.
constexpr size_t kShownBytes = 128;
// As in nutcracker; libraries know the first words.
constexpr std::string_view kNoAuth = "NOAUTH Authentication required";

uint64_t NextClientId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

std::string_view KeysProblem(KeysError error) {
  switch (error) {
    case KeysError::kNotANumber:
      return "ERR value is not an integer or out of range";
    case KeysError::kTooMany:
      return "ERR Number of keys can't be greater than number of args";
    case KeysError::kNegative:
      return "ERR Number of keys can't be negative";
    case KeysError::kNoKeys:
      return "ERR at least 1 input key is needed for this command";
    default:
      return "ERR syntax error";
  }
}

// As redis words it: the name and the first arguments, cut off.
std::string UnknownCommand(const Words& words) {
  std::string text = fmt::format("ERR unknown command '{}', with args beginning with: ",
                                 words[0].substr(0, kShownBytes));
  const size_t begin = text.size();
  for (size_t i = 1; i < words.size() && text.size() - begin < kShownBytes; ++i) {
    text += fmt::format("'{}' ", words[i].substr(0, kShownBytes - (text.size() - begin)));
  }
  return text;
}

// COPY source destination [DB n] [REPLACE]: would it write to another database?
bool LeavesDatabase(const CommandSpec& spec, const Words& words) {
  return spec.name == "copy" &&
         std::any_of(words.begin() + 3, words.end(),
                     [](std::string_view word) { return IsWord(word, "db"); });
}

}  // namespace

ClientState::ClientState() : id(NextClientId()) {}

RedisRequestParser::RedisRequestParser(const Codec::Limits& limits) : limits_(limits) {
  state_.logged_in = limits.password.empty();
}

RedisRequestParser::~RedisRequestParser() = default;

bool RedisRequestParser::trusted() const { return state_.logged_in || limits_.password.empty(); }

size_t RedisRequestParser::held_bytes() const {
  if (transaction_ == nullptr) return 0;
  return transaction_->bytes.size() + transaction_->keys.size() * sizeof(Word);
}

// "1 <logged in> <RESP3> <failed logins> <name>"
std::optional<std::string> RedisRequestParser::SaveState() const {
  if (skipping_ || transaction_ != nullptr || state_.watching) return std::nullopt;
  return fmt::format("1 {:d} {:d} {} {}", state_.logged_in, state_.resp3, state_.failed_logins,
                     state_.name);
}

bool RedisRequestParser::RestoreState(std::string_view state) {
  int logged_in = 0;
  int resp3 = 0;
  unsigned failed = 0;
  int at = 0;
  const std::string text(state);
  if (sscanf(text.c_str(), "1 %d %d %u %n", &logged_in, &resp3, &failed, &at) != 3 || at == 0) {
    return false;
  }
  state_.logged_in = logged_in != 0;
  state_.resp3 = resp3 != 0;
  state_.failed_logins = failed;
  state_.name = text.substr(static_cast<size_t>(at));
  return true;
}

std::string RedisRequestParser::RefuseGroup() {
  state_.resp3 = false;
  return "-NOPROTO the servers of this pool do not speak RESP3\r\n";
}

ParseResult RedisRequestParser::Parse(std::string_view in, Command* out) {
  out->Clear();
  if (skipping_) return SkipOn(in, out);
  reader_.set_cautious(!trusted());
  using Status = MessageReader::Status;
  switch (reader_.Read(in, &out->places)) {
    case Status::kNeedMore:
      if (reader_.size_known() > limits_.max_value) {
        answer_skipped_ = true;
        return SkipOn(in, out);
      }
      // At the header of a word nothing is known of what is still to come.
      return {ParseStatus::kNeedMore, 0,
              reader_.size_known() > in.size() ? reader_.size_known() : 0};
    case Status::kInvalid:
      return Invalid(reader_.problem(), in.size(), out);
    case Status::kEmpty: {
      const size_t consumed = reader_.size();
      reader_.Reset(&out->places);
      if (limits_.strict) return {ParseStatus::kInvalid, consumed};
      return {ParseStatus::kNeedMore, consumed};
    }
    case Status::kPing:
    case Status::kQuit: {
      const bool ping = in.front() == 'P' || in.front() == 'p';
      const size_t consumed = reader_.size();
      reader_.Reset(&out->places);
      if (limits_.strict) return {ParseStatus::kInvalid, consumed};
      if (ping) {
        Answer("+PONG\r\n", out);
      } else {
        OnQuit({}, out);
      }
      return {ParseStatus::kDone, consumed};
    }
    case Status::kDone:
      break;
  }
  if (reader_.size() > limits_.max_value) {
    const size_t consumed = reader_.size();
    reader_.Reset(&out->places);
    AnswerTooLarge(out);
    return {ParseStatus::kDone, consumed};
  }
  return OnMessage(in.substr(0, reader_.size()), out);
}

ParseResult RedisRequestParser::OnMessage(std::string_view message, Command* out) {
  reader_.CopyWords(message, &out->words);
  ParseResult result = Dispatch(message, out);
  if (result.alone) return result;
  may_be_alone_ = false;
  result.consumed = message.size();
  reader_.Reset(&out->places);
  return result;
}

Quiet RedisRequestParser::SkipMessage() {
  skipping_ = true;
  answer_skipped_ = false;
  if (transaction_ != nullptr) transaction_->bad = true;
  return Quiet::kNo;
}

// Takes bytes of a message that was refused.
ParseResult RedisRequestParser::SkipOn(std::string_view in, Command* out) {
  skipping_ = true;
  size_t taken = 0;
  switch (reader_.Skip(in, &taken)) {
    case MessageReader::Status::kInvalid:
      return Invalid(reader_.problem(), in.size(), out);
    case MessageReader::Status::kDone:
      break;
    default:
      return {ParseStatus::kNeedMore, taken};
  }
  skipping_ = false;
  reader_.Reset(&out->places);
  if (!answer_skipped_) return {ParseStatus::kNeedMore, taken};
  answer_skipped_ = false;
  AnswerTooLarge(out);
  return {ParseStatus::kDone, taken};
}

void RedisRequestParser::AnswerTooLarge(Command* out) {
  AnswerError(fmt::format("ERR request is larger than the pool's client_max_buffer ({} bytes)",
                          limits_.max_value),
              out);
}

// Out of step: an error, and the end. In strict pools the end alone.
ParseResult RedisRequestParser::Invalid(std::string_view problem, size_t consumed, Command* out) {
  reader_.Reset(&out->places);
  if (limits_.strict) return {ParseStatus::kInvalid, consumed};
  AnswerError(fmt::format("ERR {}", problem), out);
  out->close_after = true;
  return {ParseStatus::kDone, consumed};
}

ParseResult RedisRequestParser::Dispatch(std::string_view message, Command* out) {
  const Words& words = out->words;
  bool container = false;
  // "object|encoding" is how a row is called, not what a client may say.
  const bool one_word = words[0].find('|') == std::string_view::npos;
  const CommandSpec* spec =
      one_word ? FindCommand(words[0], words.size() > 1 ? words[1] : std::string_view(), &container)
               : nullptr;
  const ParseResult done{ParseStatus::kDone};
  if (limits_.strict && (spec == nullptr || !NutcrackerTakes(*spec, words))) {
    return {ParseStatus::kInvalid};
  }
  if (!Allowed(spec, container, words, out)) return done;
  if (NeedsToBeAlone(*spec, words) && !may_be_alone_) {
    may_be_alone_ = true;
    ParseResult wait{ParseStatus::kNeedMore};
    wait.alone = true;
    return wait;
  }
  if (transaction_ != nullptr && spec->handling != Handling::kTransaction) {
    Queue(*spec, message, out);
    return done;
  }
  switch (spec->handling) {
    case Handling::kForward:
    case Handling::kBlocking:
      if (SetKeys(*spec, words, out)) Forward(*spec, message, out);
      return done;
    case Handling::kSplitList:
    case Handling::kSplitSum:
    case Handling::kSplitOk:
      if (SetKeys(*spec, words, out)) Split(*spec, message, out);
      return done;
    case Handling::kTransaction:
      if (spec->name == "watch") {
        OnWatch(*spec, message, out);
        return done;
      }
      [[fallthrough]];
    case Handling::kLocal: {
      const Handler handler = FindLocal(spec->name);
      (this->*handler)(words, out);
      return done;
    }
    case Handling::kCluster:
    case Handling::kDangerous:
      if (spec->handling == Handling::kCluster ? limits_.cluster_commands
                                               : limits_.dangerous_commands) {
        ToAllServers(*spec, message, out);
        return done;
      }
      AnswerError(fmt::format("ERR '{}' asks every server of the pool, which its settings do not "
                              "allow ({}: true)",
                              spec->name,
                              spec->handling == Handling::kCluster ? "cluster_commands"
                                                                   : "dangerous_commands"),
                  out);
      return done;
    case Handling::kRefused:
      AnswerError(fmt::format("ERR {}", spec->refusal), out);
      return done;
  }
  return done;
}

// False when the command is answered already, by an error.
bool RedisRequestParser::Allowed(const CommandSpec* spec, bool container, const Words& words,
                                 Command* out) {
  const bool knocks = spec != nullptr && (spec->effect == Effect::kLogin || spec->name == "hello" ||
                                          spec->name == "quit" || spec->name == "reset");
  if (!trusted() && !knocks) {
    AnswerError(kNoAuth, out);
    return false;
  }
  if (words[0].empty()) {
    AnswerError("ERR unknown command '', with args beginning with: ", out);
    return false;
  }
  if (spec == nullptr && container) {
    AnswerError(words.size() > 1
                    ? fmt::format("ERR unknown subcommand '{}' of '{}', or not one for a proxy",
                                  words[1].substr(0, kShownBytes), words[0])
                    : fmt::format("ERR wrong number of arguments for '{}' command", words[0]),
                out);
    return false;
  }
  if (spec == nullptr) {
    AnswerError(UnknownCommand(words), out);
    return false;
  }
  const auto count = static_cast<int>(words.size());
  const bool fits = spec->arity >= 0 ? count == spec->arity : count >= -spec->arity;
  if (!fits) {
    AnswerWrongCount(spec->name, out);
    return false;
  }
  return true;
}

// Commands that use a connection of the client's own must not overtake its requests on
// the shared ones, nor be overtaken.
bool RedisRequestParser::NeedsToBeAlone(const CommandSpec& spec, const Words& words) const {
  if (transaction_ != nullptr) return state_.watching && spec.name == "exec";
  return spec.name == "watch" || Blocks(spec, words);
}

// The keys, into out->keys. False when the command is answered already.
bool RedisRequestParser::SetKeys(const CommandSpec& spec, const Words& words, Command* out) {
  if (LeavesDatabase(spec, words)) {
    AnswerError("ERR this pool serves one database: COPY without DB", out);
    return false;
  }
  if (Splits(spec.handling) && (words.size() - 1) % static_cast<size_t>(spec.step) != 0) {
    AnswerWrongCount(spec.name, out);
    return false;
  }
  const KeysError error = FindKeys(spec, words, &out->positions);
  if (error != KeysError::kNone) {
    if (limits_.strict && !words.empty() && out->positions.empty() && spec.keys != KeySpec::kNone) {
      // nutcracker does not compare: the server says what is wrong.
      out->key = words[std::min<size_t>(words.size() - 1, 3)];
      return true;
    }
    AnswerError(KeysProblem(error), out);
    return false;
  }
  for (const uint32_t at : out->positions) out->keys.push_back(words[at]);
  out->key = out->keys.empty() ? kPlaceholder : out->keys.front();
  return true;
}

void RedisRequestParser::SetWait(const CommandSpec& spec, const Words& words, Command* out) {
  if (!Blocks(spec, words)) return;
  out->lease = Lease::kOnce;
  out->barrier = true;
  out->wait_ms = std::max<int64_t>(0, BlockTimeoutMs(spec, words));
  out->expires = out->wait_ms > 0;
}

void RedisRequestParser::Forward(const CommandSpec& spec, std::string_view message, Command* out) {
  out->action = Action::kForward;
  out->group = state_.resp3 ? 1 : 0;
  out->is_read = spec.read;
  out->gets = spec.get ? static_cast<uint32_t>(std::max<size_t>(1, out->keys.size())) : 0;
  out->shed_when_full = spec.value;
  out->body = message;
  // nutcracker sends all of it to the first key's server.
  if (limits_.strict) out->keys.clear();
  SetWait(spec, out->words, out);
}

void RedisRequestParser::Split(const CommandSpec& spec, std::string_view message, Command* out) {
  const Words& words = out->words;
  const auto step = static_cast<size_t>(spec.step);
  if (out->keys.size() == 1 || (limits_.strict && spec.name == "exists")) {
    return Forward(spec, message, out);
  }
  out->action = Action::kSplit;
  out->group = state_.resp3 ? 1 : 0;
  out->is_read = spec.read;
  out->gets = spec.get ? static_cast<uint32_t>(out->keys.size()) : 0;
  out->shed_when_full = spec.value;
  out->verb = spec.name;
  const auto kind = spec.handling == Handling::kSplitList  ? ReplyKind::kList
                    : spec.handling == Handling::kSplitSum ? ReplyKind::kInteger
                                                           : ReplyKind::kOk;
  out->reply_kind = static_cast<uint8_t>(kind);
  out->merge = kind == ReplyKind::kList      ? Merge::kBlocks
               : kind == ReplyKind::kInteger ? Merge::kSum
                                             : Merge::kAgree;
  // A key's bytes, with what belongs to it, as they stand in the message: from the end
  // of the word before it, with its own header, to the end of its last word.
  for (const uint32_t at : out->positions) {
    const char* begin = words[at - 1].data() + words[at - 1].size() + 2;
    const std::string_view last = words[at + step - 1];
    const char* end = last.data() + last.size() + 2;
    out->stretches.emplace_back(begin, static_cast<size_t>(end - begin));
  }
}

void RedisRequestParser::Answer(std::string_view text, Command* out) {
  out->action = Action::kAnswer;
  if (text.data() != out->rebuilt.data()) {
    out->rebuilt.assign(text);
    text = out->rebuilt;
  }
  out->answer = text;
}

void RedisRequestParser::AnswerError(std::string_view text, Command* out) {
  if (transaction_ != nullptr) transaction_->bad = true;
  std::string line;
  ReplyWriter(&line, state_.resp3).Error(text);
  Answer(line, out);
}

void RedisRequestParser::AnswerWrongCount(std::string_view name, Command* out) {
  AnswerError(fmt::format("ERR wrong number of arguments for '{}' command", name), out);
}

}  // namespace cashew::protocol::redis
