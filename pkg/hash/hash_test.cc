#include "pkg/hash/hash.h"

#include <climits>
#include <cstddef>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"

// Built twice: as usual, and (hash_unsigned_char_test) together with the hash
// sources under -funsigned-char, as on arm64.
#ifdef CASHEW_UNSIGNED_CHAR
static_assert(CHAR_MIN == 0, "this target is meant to be built with -funsigned-char");
#endif

namespace cashew::hash {
namespace {

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Values recorded from nutcracker 0.5.0.
nlohmann::json Vectors() {
  std::ifstream in("test/compat/hash_vectors.json");
  return nlohmann::json::parse(in);
}

TEST(Hash, EveryKindGivesNutcrackersValueForEveryRecordedKey) {
  const nlohmann::json vectors = Vectors();
  ASSERT_GE(vectors["vectors"].size(), 89u);
  for (const auto& vector : vectors["vectors"]) {
    const std::string key = FromHex(vector["key_hex"]);
    ASSERT_EQ(key.size(), vector["len"].get<size_t>());
    ASSERT_EQ(vector["hash"].size(), KindNames().size());
    for (const auto& [name, value] : vector["hash"].items()) {
      const auto kind = KindFromName(name);
      ASSERT_TRUE(kind.has_value()) << name;
      EXPECT_EQ(Hash(*kind, key), value.get<uint32_t>()) << name << " of " << vector["key_hex"];
    }
  }
}

TEST(Hash, NamesAreThoseOfTheReferenceInTheOrderOfKind) {
  const auto names = Vectors()["functions"].get<std::vector<std::string>>();
  ASSERT_EQ(names.size(), KindNames().size());
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(KindNames()[i], names[i]);
    EXPECT_EQ(KindFromName(names[i]), static_cast<Kind>(i));
    EXPECT_EQ(KindName(static_cast<Kind>(i)), names[i]);
  }
}

TEST(Hash, NamesAreMatchedWhole) {
  for (const char* name : {"", "fnv1a", "FNV1A_64", "fnv1a_64 ", "crc", "sha1"}) {
    EXPECT_EQ(KindFromName(name), std::nullopt) << name;
  }
}

TEST(Hash, EmptyKeyIsZeroUnderEveryKind) {
  for (size_t i = 0; i < KindNames().size(); ++i) {
    EXPECT_EQ(Hash(static_cast<Kind>(i), ""), 0u) << KindNames()[i];
    EXPECT_EQ(FunctionFor(static_cast<Kind>(i))(std::string_view()), 0u) << KindNames()[i];
  }
  EXPECT_NE(Md5(""), 0u) << "the raw function would not be";
}

TEST(Hash, ResultDoesNotDependOnAlignmentOrOnBytesBehindTheKey) {
  const std::string key = "a key of 31 bytes \x80\xff with high";
  for (size_t i = 0; i < KindNames().size(); ++i) {
    const HashFunction function = FunctionFor(static_cast<Kind>(i));
    for (size_t length = 1; length <= key.size(); ++length) {
      const uint32_t expected = function(key.substr(0, length));
      for (size_t offset = 0; offset < 8; ++offset) {
        const std::string shifted = std::string(offset, '\x5a') + key;
        ASSERT_EQ(function(std::string_view(shifted).substr(offset, length)), expected)
            << KindNames()[i] << " length " << length << " offset " << offset;
      }
    }
  }
}

TEST(Hash, HighBytesAreSignExtendedWhateverTheSignOfChar) {
  static_assert(SignExtended('\x80') == 0xffffff80);
  static_assert(SignExtended('\x7f') == 0x7f);
  static_assert(ZeroExtended('\x80') == 0x80);
  // h = 0x84222325 * 0x1b3 ^ 0xffffff80, and not ^ 0x80.
  EXPECT_EQ(Hash(Kind::kFnv1_64, "\x80"), (0x84222325u * 0x1b3u) ^ 0xffffff80u);
  EXPECT_EQ(Hash(Kind::kFnv1a_32, "\xff"), (2166136261u ^ 0xffffffffu) * 16777619u);
}

TEST(Hash, Crc32IsFifteenBitsOfCrc32a) {
  // The check value of CRC-32 in every catalogue.
  EXPECT_EQ(Hash(Kind::kCrc32a, "123456789"), 0xcbf43926u);
  EXPECT_EQ(Hash(Kind::kCrc32, "123456789"), (0xcbf43926u >> 16) & 0x7fff);
}

TEST(Md5, DigestIsThatOfRfc1321) {
  const auto digest = Md5Digest("message digest");
  const std::string expected = FromHex("f96b697d7cb7938d525a2f31aaf161d0");
  EXPECT_EQ(std::string(digest.begin(), digest.end()), expected);
  EXPECT_EQ(Hash(Kind::kMd5, "message digest"), 0x7d696bf9u);
}

}  // namespace
}  // namespace cashew::hash
