#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/protocol/codec.h"
#include "pkg/protocol/redis/command_table.h"
#include "pkg/protocol/redis/message.h"

namespace cashew::protocol::redis {

// What clients may take the servers for, when they look. The commands of newer servers
// pass all the same.
inline constexpr std::string_view kRedisVersion = "7.0.0";

using Words = std::vector<std::string_view>;

// What a client has said of itself, and so what the proxy must remember: a server
// connection is shared and can remember nothing of one client.
struct ClientState {
  ClientState();

  const uint64_t id;  // unique in this process
  bool logged_in = false;
  bool resp3 = false;
  bool watching = false;  // holds a connection of its own, for WATCH
  uint32_t failed_logins = 0;
  std::string name;
};

inline bool Splits(Handling handling) {
  return handling == Handling::kSplitList || handling == Handling::kSplitSum ||
         handling == Handling::kSplitOk;
}

// Commands that wait for EXEC.
struct Transaction {
  std::string bytes;  // MULTI, then the commands as they came
  uint32_t commands = 0;
  std::vector<Word> keys;  // in `bytes`
  bool bad = false;        // a command was refused: EXEC answers EXECABORT
};

// Redis requests: arrays of bulk strings, in RESP2 and RESP3 alike. What passes is in
// the command table, has a number of arguments that its row allows, and names its keys
// where the row says; the bytes go on as they came.
//
// Commands that speak of the connection (HELLO, AUTH, SELECT, CLIENT, MULTI, …) are dealt
// with here, since the client's connection is the proxy's: local_commands.cc and
// transactions.cc.
class RedisRequestParser final : public RequestParser {
 public:
  explicit RedisRequestParser(const Codec::Limits& limits);
  ~RedisRequestParser() override;

  ParseResult Parse(std::string_view in, Command* out) override;
  Quiet SkipMessage() override;
  size_t held_bytes() const override;
  bool trusted() const override;
  std::string RefuseGroup() override;
  std::optional<std::string> SaveState() const override;
  bool RestoreState(std::string_view state) override;

  // True when the proxy has an answer of its own to that row of the command table.
  static bool IsLocal(std::string_view name);

 private:
  // Handles a command that the proxy answers; a row of the table in local_commands.cc.
  using Handler = void (RedisRequestParser::*)(const Words& words, Command* out);
  struct LocalCommand;
  static Handler FindLocal(std::string_view name);

  ParseResult OnMessage(std::string_view message, Command* out);
  ParseResult SkipOn(std::string_view in, Command* out);
  ParseResult Dispatch(std::string_view message, Command* out);
  bool Allowed(const CommandSpec* spec, bool container, const Words& words, Command* out);
  bool NeedsToBeAlone(const CommandSpec& spec, const Words& words) const;
  bool SetKeys(const CommandSpec& spec, const Words& words, Command* out);
  void Forward(const CommandSpec& spec, std::string_view message, Command* out);
  void Split(const CommandSpec& spec, std::string_view message, Command* out);
  // cluster_commands.cc
  void ToAllServers(const CommandSpec& spec, std::string_view message, Command* out);
  void Scan(std::string_view message, Command* out);
  void SetWait(const CommandSpec& spec, const Words& words, Command* out);

  // Answers. An error in a transaction spoils it.
  void Answer(std::string_view text, Command* out);
  void AnswerError(std::string_view text, Command* out);
  void AnswerWrongCount(std::string_view name, Command* out);
  void AnswerOk(Command* out) { Answer("+OK\r\n", out); }
  void AnswerTooLarge(Command* out);
  ParseResult Invalid(std::string_view problem, size_t consumed, Command* out);

  // transactions.cc
  void OnMulti(const Words& words, Command* out);
  void OnExec(const Words& words, Command* out);
  void OnDiscard(const Words& words, Command* out);
  void OnWatch(const CommandSpec& spec, std::string_view message, Command* out);
  void OnUnwatch(const Words& words, Command* out);
  void Queue(const CommandSpec& spec, std::string_view message, Command* out);
  void Unwatch(Command* out);

  // local_commands.cc
  void OnPing(const Words& words, Command* out);
  void OnEcho(const Words& words, Command* out);
  void OnQuit(const Words& words, Command* out);
  void OnReset(const Words& words, Command* out);
  void OnAuth(const Words& words, Command* out);
  void OnHello(const Words& words, Command* out);
  void OnSelect(const Words& words, Command* out);
  void OnTime(const Words& words, Command* out);
  void OnInfo(const Words& words, Command* out);
  void OnOk(const Words& words, Command* out);
  void OnClientName(const Words& words, Command* out);
  void OnClientSetName(const Words& words, Command* out);
  void OnClientSetInfo(const Words& words, Command* out);
  void OnClientId(const Words& words, Command* out);
  void OnClientInfo(const Words& words, Command* out);
  void OnClientSwitch(const Words& words, Command* out);
  void OnClientGetRedir(const Words& words, Command* out);
  void OnCommand(const Words& words, Command* out);
  void OnCommandCount(const Words& words, Command* out);
  void OnCommandDocs(const Words& words, Command* out);
  void OnCommandInfo(const Words& words, Command* out);
  void OnCommandList(const Words& words, Command* out);
  void OnCommandGetKeys(const Words& words, Command* out);
  bool LogIn(std::string_view user, std::string_view password);
  void LoginFailed(std::string_view text, Command* out);

  const Codec::Limits& limits_;
  MessageReader reader_;
  ClientState state_;
  std::unique_ptr<Transaction> transaction_;
  bool may_be_alone_ = false;  // the message was held back until earlier ones are answered
  bool skipping_ = false;
  bool answer_skipped_ = false;  // … and answer for it at its end
};

}  // namespace cashew::protocol::redis
