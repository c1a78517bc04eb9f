#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "pkg/protocol/codec.h"
#include "pkg/protocol/memcached/command_table.h"

namespace cashew::protocol::memcached {

// memcached's text protocol, replies. Values are passed through as they come;
// only lines must be whole.
class MemcachedReplyParser final : public ReplyParser {
 public:
  Result Parse(std::string_view in, Expectation* expect, std::vector<Block>* blocks) override;

 private:
  Result OnLine(std::string_view line, Expectation* expect, std::vector<Block>* blocks);
  Result OnValue(std::string_view line, Expectation* expect, std::vector<Block>* blocks);
  Result OnMetaValue(std::string_view line);

  size_t scanned_ = 0;           // bytes at the front known to hold no LF
  uint64_t body_ = 0;            // bytes of a value, with its CRLF, still to come
  bool ends_with_body_ = false;  // a meta reply: nothing follows its value
};

}  // namespace cashew::protocol::memcached
