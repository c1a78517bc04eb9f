#include <algorithm>
#include <chrono>
#include <iterator>

#include "fmt/format.h"

#include "pkg/base/build_info.h"
#include "pkg/protocol/redis/keys.h"
#include "pkg/protocol/redis/reply_writer.h"
#include "pkg/protocol/redis/request_parser.h"
#include "pkg/protocol/redis/words.h"

// The commands that the proxy answers itself: those that speak of the connection, and
// those that ask what there is to ask for.

namespace cashew::protocol::redis {
namespace {

constexpr size_t kMaxName = 256;
// A wrong password is answered late, later each time.
constexpr int64_t kFirstDelayMs = 100;
constexpr int64_t kMaxDelayMs = 2000;

// As redis: printable, no space.
bool IsName(std::string_view name) {
  return name.size() <= kMaxName &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '!' && c <= '~'; });
}

void WriteCommand(const CommandSpec& spec, ReplyWriter* writer) {
  const bool range = spec.keys == KeySpec::kRange;
  writer->Array(6);
  writer->Bulk(spec.name);
  writer->Integer(spec.arity);
  const bool movable = spec.keys != KeySpec::kNone && !range;
  writer->Array(movable ? 2 : 1);
  writer->Status(spec.read ? "readonly" : spec.keys == KeySpec::kNone ? "fast" : "write");
  if (movable) writer->Status("movablekeys");
  writer->Integer(range ? spec.first : 0);
  writer->Integer(range ? spec.last : 0);
  writer->Integer(range ? spec.step : 0);
}

// Rows that a client may use, subcommands apart.
bool Listed(const CommandSpec& spec) {
  return spec.handling != Handling::kRefused && spec.name.find('|') == std::string_view::npos;
}

size_t ListedCount() {
  const auto commands = Commands();
  return static_cast<size_t>(std::count_if(commands.begin(), commands.end(), Listed));
}

}  // namespace

struct RedisRequestParser::LocalCommand {
  std::string_view name;
  Handler handler;
};

RedisRequestParser::Handler RedisRequestParser::FindLocal(std::string_view name) {
  using P = RedisRequestParser;
  static constexpr LocalCommand kLocal[] = {
      {"ping", &P::OnPing},
      {"echo", &P::OnEcho},
      {"quit", &P::OnQuit},
      {"reset", &P::OnReset},
      {"auth", &P::OnAuth},
      {"hello", &P::OnHello},
      {"select", &P::OnSelect},
      {"time", &P::OnTime},
      {"info", &P::OnInfo},
      {"readonly", &P::OnOk},
      {"readwrite", &P::OnOk},
      {"multi", &P::OnMulti},
      {"exec", &P::OnExec},
      {"discard", &P::OnDiscard},
      {"unwatch", &P::OnUnwatch},
      {"client|getname", &P::OnClientName},
      {"client|setname", &P::OnClientSetName},
      {"client|setinfo", &P::OnClientSetInfo},
      {"client|id", &P::OnClientId},
      {"client|info", &P::OnClientInfo},
      {"client|list", &P::OnClientInfo},
      {"client|no-evict", &P::OnClientSwitch},
      {"client|no-touch", &P::OnClientSwitch},
      {"client|getredir", &P::OnClientGetRedir},
      {"command", &P::OnCommand},
      {"command|count", &P::OnCommandCount},
      {"command|docs", &P::OnCommandDocs},
      {"command|info", &P::OnCommandInfo},
      {"command|list", &P::OnCommandList},
      {"command|getkeys", &P::OnCommandGetKeys},
  };
  const auto* row = std::find_if(std::begin(kLocal), std::end(kLocal),
                                 [name](const LocalCommand& c) { return c.name == name; });
  return row == std::end(kLocal) ? nullptr : row->handler;
}

bool RedisRequestParser::IsLocal(std::string_view name) { return FindLocal(name) != nullptr; }

void RedisRequestParser::OnPing(const Words& words, Command* out) {
  if (words.size() > 2) {
    return AnswerWrongCount("ping", out);
  }
  if (words.size() == 1) return Answer("+PONG\r\n", out);
  OnEcho(words, out);
}

void RedisRequestParser::OnEcho(const Words& words, Command* out) {
  out->rebuilt.clear();
  ReplyWriter(&out->rebuilt, state_.resp3).Bulk(words[1]);
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnQuit(const Words& words, Command* out) {
  out->action = Action::kQuit;
  if (!limits_.strict) out->answer = "+OK\r\n";
}

void RedisRequestParser::OnOk(const Words& words, Command* out) { AnswerOk(out); }

// As a new connection; its group of server connections changes with the protocol.
void RedisRequestParser::OnReset(const Words& words, Command* out) {
  transaction_.reset();
  state_.resp3 = false;
  state_.name.clear();
  state_.logged_in = limits_.password.empty();
  Answer("+RESET\r\n", out);
  Unwatch(out);
  out->barrier = true;
}

// ---- login -----------------------------------------------------------------

bool RedisRequestParser::LogIn(std::string_view user, std::string_view password) {
  // Both are compared, whatever the first says.
  const bool right_user = user == "default" || user == limits_.user;
  const bool right_password = limits_.password.Matches(password);
  state_.logged_in = right_user && right_password;
  if (state_.logged_in) state_.failed_logins = 0;
  return state_.logged_in;
}

void RedisRequestParser::LoginFailed(std::string_view text, Command* out) {
  Answer(text, out);
  out->login_failed = true;
  if (limits_.strict) return;
  out->delay_ms = std::min(kMaxDelayMs, kFirstDelayMs << std::min(state_.failed_logins, 5U));
  out->barrier = true;
  ++state_.failed_logins;
}

void RedisRequestParser::OnAuth(const Words& words, Command* out) {
  if (words.size() > 3) return Answer("-ERR syntax error\r\n", out);
  if (limits_.password.empty()) {
    return Answer("-ERR Client sent AUTH, but no password is set\r\n", out);
  }
  if (words.size() == 2) {
    if (LogIn("default", words[1])) return AnswerOk(out);
    return LoginFailed("-ERR invalid password\r\n", out);
  }
  if (LogIn(words[1], words[2])) return AnswerOk(out);
  LoginFailed("-WRONGPASS invalid username-password pair or user is disabled.\r\n", out);
}

// HELLO [2|3 [AUTH user password] [SETNAME name]]
void RedisRequestParser::OnHello(const Words& words, Command* out) {
  bool resp3 = state_.resp3;
  if (words.size() > 1) {
    if (words[1] != "2" && words[1] != "3") {
      return Answer("-NOPROTO unsupported protocol version\r\n", out);
    }
    resp3 = words[1] == "3";
    if (resp3 != state_.resp3 && state_.watching) {
      // The connection that watches speaks the old one.
      return AnswerError("ERR HELLO cannot change the protocol while keys are watched", out);
    }
  }
  std::string_view name;
  bool named = false;
  for (size_t i = 2; i < words.size();) {
    if (IsWord(words[i], "auth") && i + 2 < words.size()) {
      if (limits_.password.empty()) {
        return Answer("-ERR Client sent AUTH, but no password is set\r\n", out);
      }
      if (!LogIn(words[i + 1], words[i + 2])) {
        return LoginFailed("-WRONGPASS invalid username-password pair or user is disabled.\r\n",
                           out);
      }
      i += 3;
    } else if (IsWord(words[i], "setname") && i + 1 < words.size()) {
      name = words[i + 1];
      named = true;
      i += 2;
    } else {
      return Answer("-ERR Syntax error in HELLO option\r\n", out);
    }
  }
  if (!trusted()) {
    return Answer(
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
        "RESP protocol version at the same time\r\n",
        out);
  }
  if (named && !IsName(name)) {
    return Answer("-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
                  out);
  }
  if (named) state_.name = name;
  state_.resp3 = resp3;
  out->rebuilt.clear();
  ReplyWriter writer(&out->rebuilt, resp3);
  writer.Map(7);
  writer.Bulk("server");
  writer.Bulk("redis");
  writer.Bulk("version");
  writer.Bulk(kRedisVersion);
  writer.Bulk("proto");
  writer.Integer(resp3 ? 3 : 2);
  writer.Bulk("id");
  writer.Integer(static_cast<int64_t>(state_.id));
  writer.Bulk("mode");
  writer.Bulk("standalone");
  writer.Bulk("role");
  writer.Bulk("master");
  writer.Bulk("modules");
  writer.Array(0);
  Answer(out->rebuilt, out);
  out->group = resp3 ? 1 : 0;
  out->barrier = true;
}

void RedisRequestParser::OnSelect(const Words& words, Command* out) {
  if (words[1] == fmt::format("{}", limits_.database)) return AnswerOk(out);
  const bool number = !words[1].empty() && words[1].size() < 10 &&
                      words[1].find_first_not_of("0123456789") == std::string_view::npos;
  if (!number) return AnswerError("ERR invalid DB index", out);
  AnswerError(
      fmt::format("ERR this pool serves database {} alone (its redis_db)", limits_.database), out);
}

// ---- about the proxy -------------------------------------------------------

void RedisRequestParser::OnTime(const Words& words, Command* out) {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  out->rebuilt.clear();
  ReplyWriter writer(&out->rebuilt, state_.resp3);
  writer.Array(2);
  writer.Bulk(fmt::format("{}", now / 1'000'000));
  writer.Bulk(fmt::format("{}", now % 1'000'000));
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnInfo(const Words& words, Command* out) { out->action = Action::kStats; }

// ---- CLIENT ----------------------------------------------------------------

void RedisRequestParser::OnClientName(const Words& words, Command* out) {
  out->rebuilt.clear();
  ReplyWriter writer(&out->rebuilt, state_.resp3);
  if (state_.name.empty()) {
    writer.Null();
  } else {
    writer.Bulk(state_.name);
  }
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnClientSetName(const Words& words, Command* out) {
  if (!IsName(words[2])) {
    return AnswerError("ERR Client names cannot contain spaces, newlines or special characters.",
                       out);
  }
  state_.name = words[2];
  AnswerOk(out);
}

// CLIENT SETINFO LIB-NAME|LIB-VER value: checked, and forgotten.
void RedisRequestParser::OnClientSetInfo(const Words& words, Command* out) {
  if (!IsWord(words[2], "lib-name") && !IsWord(words[2], "lib-ver")) {
    return AnswerError(fmt::format("ERR Unrecognized option '{}'", words[2].substr(0, kMaxName)),
                       out);
  }
  if (!IsName(words[3])) {
    return AnswerError(
        fmt::format("ERR {} cannot contain spaces, newlines or special characters.", words[2]),
        out);
  }
  AnswerOk(out);
}

void RedisRequestParser::OnClientId(const Words& words, Command* out) {
  out->rebuilt.clear();
  ReplyWriter(&out->rebuilt, state_.resp3).Integer(static_cast<int64_t>(state_.id));
  Answer(out->rebuilt, out);
}

// Of CLIENT LIST a client sees itself.
void RedisRequestParser::OnClientInfo(const Words& words, Command* out) {
  out->rebuilt.clear();
  ReplyWriter(&out->rebuilt, state_.resp3)
      .Bulk(fmt::format("id={} name={} db={} multi={} watch={} resp={}\n", state_.id, state_.name,
                        limits_.database,
                        transaction_ != nullptr ? static_cast<int>(transaction_->commands) : -1,
                        state_.watching ? 1 : 0, state_.resp3 ? 3 : 2));
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnClientSwitch(const Words& words, Command* out) {
  if (!IsWord(words[2], "on") && !IsWord(words[2], "off"))
    return AnswerError("ERR syntax error", out);
  AnswerOk(out);
}

void RedisRequestParser::OnClientGetRedir(const Words& words, Command* out) {
  Answer(":-1\r\n", out);
}

// ---- COMMAND ---------------------------------------------------------------

void RedisRequestParser::OnCommand(const Words& words, Command* out) {
  out->rebuilt.clear();
  ReplyWriter writer(&out->rebuilt, state_.resp3);
  writer.Array(ListedCount());
  for (const CommandSpec& spec : Commands()) {
    if (Listed(spec)) WriteCommand(spec, &writer);
  }
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnCommandCount(const Words& words, Command* out) {
  out->rebuilt.clear();
  ReplyWriter(&out->rebuilt, state_.resp3).Integer(static_cast<int64_t>(ListedCount()));
  Answer(out->rebuilt, out);
}

// None are kept here; clients then do without hints.
void RedisRequestParser::OnCommandDocs(const Words& words, Command* out) {
  out->rebuilt.clear();
  ReplyWriter(&out->rebuilt, state_.resp3).Map(0);
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnCommandInfo(const Words& words, Command* out) {
  if (words.size() == 2) return OnCommand(words, out);
  out->rebuilt.clear();
  ReplyWriter writer(&out->rebuilt, state_.resp3);
  writer.Array(words.size() - 2);
  for (size_t i = 2; i < words.size(); ++i) {
    const CommandSpec* spec = FindCommand(words[i], {});
    if (spec != nullptr && Listed(*spec)) {
      WriteCommand(*spec, &writer);
    } else if (state_.resp3) {
      writer.Null();
    } else {
      out->rebuilt.append("*-1\r\n");
    }
  }
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnCommandList(const Words& words, Command* out) {
  if (words.size() > 2) return AnswerError("ERR COMMAND LIST takes no filter here", out);
  out->rebuilt.clear();
  ReplyWriter writer(&out->rebuilt, state_.resp3);
  writer.Array(ListedCount());
  for (const CommandSpec& spec : Commands()) {
    if (Listed(spec)) writer.Bulk(spec.name);
  }
  Answer(out->rebuilt, out);
}

void RedisRequestParser::OnCommandGetKeys(const Words& words, Command* out) {
  const Words inner(words.begin() + 2, words.end());
  const CommandSpec* spec =
      inner.empty() ? nullptr
                    : FindCommand(inner[0], inner.size() > 1 ? inner[1] : std::string_view());
  if (spec == nullptr) return AnswerError("ERR Invalid command specified", out);
  const auto count = static_cast<int>(inner.size());
  if (spec->arity >= 0 ? count != spec->arity : count < -spec->arity) {
    return AnswerError("ERR Invalid number of arguments specified for command", out);
  }
  const KeysError error = FindKeys(*spec, inner, &out->positions);
  // A script may have no keys, and redis does not say what is wrong with their number.
  if (spec->keys == KeySpec::kScript && out->positions.empty()) return Answer("*0\r\n", out);
  if (error != KeysError::kNone) {
    return AnswerError("ERR Invalid arguments specified for command", out);
  }
  if (out->positions.empty()) return AnswerError("ERR The command has no key arguments", out);
  out->rebuilt.clear();
  ReplyWriter writer(&out->rebuilt, state_.resp3);
  writer.Array(out->positions.size());
  for (const uint32_t at : out->positions) writer.Bulk(inner[at]);
  Answer(out->rebuilt, out);
}

}  // namespace cashew::protocol::redis
