#pragma once

#include <cstddef>
#include <string_view>

namespace cashew::hash {

// The part of a key that is hashed in a pool with `hash_tag: "LR"`: what stands
// between the first `left` and the first `right` after it, so that {user1}:name and
// {user1}:mail share a server. The whole key when there is no such pair, or nothing
// inside it. Only the first `left` counts: "{}{b}" is hashed whole, "{{a}}" as "{a".
// The two bytes may be equal ("$$").
//
// The result views into `key`. The key sent to the server is never changed.
inline std::string_view TagOf(std::string_view key, char left, char right) {
  const size_t open = key.find(left);
  if (open == std::string_view::npos) return key;
  const size_t close = key.find(right, open + 1);
  if (close == std::string_view::npos || close == open + 1) return key;
  return key.substr(open + 1, close - open - 1);
}

}  // namespace cashew::hash
