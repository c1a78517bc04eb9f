#pragma once

#include <algorithm>
#include <string_view>

namespace cashew::protocol::redis {

// Whether a client's word is `lower`, whatever its case: redis' names and options.
inline bool IsWord(std::string_view word, std::string_view lower) {
  return word.size() == lower.size() &&
         std::equal(word.begin(), word.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b;
         });
}

}  // namespace cashew::protocol::redis
