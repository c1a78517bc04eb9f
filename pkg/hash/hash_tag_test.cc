#include "pkg/hash/hash_tag.h"

#include <gtest/gtest.h>
#include <string>

namespace cashew::hash {
namespace {

TEST(HashTag, IsTheTextBetweenTheFirstPair) {
  EXPECT_EQ(TagOf("{user1}:name", '{', '}'), "user1");
  EXPECT_EQ(TagOf("pre{user1}post", '{', '}'), "user1");
  EXPECT_EQ(TagOf("{a}{b}", '{', '}'), "a");
  EXPECT_EQ(TagOf("x}{a}", '{', '}'), "a") << "a closing byte before the opening one is text";
}

TEST(HashTag, OnlyTheFirstOpeningByteCounts) {
  EXPECT_EQ(TagOf("{}{b}", '{', '}'), "{}{b}");
  EXPECT_EQ(TagOf("{{a}}", '{', '}'), "{a");
  EXPECT_EQ(TagOf("{{}}", '{', '}'), "{");
}

TEST(HashTag, WholeKeyWithoutAPairOrWithNothingInside) {
  for (const char* key : {"", "plain", "{", "}", "{}", "}{", "a}b{c", "{open", "shut}"}) {
    EXPECT_EQ(TagOf(key, '{', '}'), key);
  }
}

TEST(HashTag, BothBytesMayBeEqual) {
  EXPECT_EQ(TagOf("a$b$c", '$', '$'), "b");
  EXPECT_EQ(TagOf("$b$", '$', '$'), "b");
  EXPECT_EQ(TagOf("$$b$", '$', '$'), "$$b$");
  EXPECT_EQ(TagOf("a$b", '$', '$'), "a$b");
}

TEST(HashTag, ViewsIntoTheKeyAndTakesAnyByte) {
  const std::string key("a\0b\xff c", 6);
  const std::string_view tag = TagOf(key, '\0', '\xff');
  EXPECT_EQ(tag, "b");
  EXPECT_EQ(tag.data(), key.data() + 2);
}

}  // namespace
}  // namespace cashew::hash
