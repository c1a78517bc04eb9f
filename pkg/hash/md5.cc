// The one-shot MD5() is deprecated in favour of EVP, and is right here all the same:
// it keeps its state on the stack, while EVP allocates and looks its algorithm up by
// name on every call (or keeps a context a thread); and it answers on a host in FIPS
// mode, where EVP refuses MD5, though nothing here is about security.
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/md5.h>

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"
#include "pkg/hash/hash.h"

namespace cashew::hash {

std::array<uint8_t, 16> Md5Digest(std::string_view bytes) {
  static_assert(MD5_DIGEST_LENGTH == 16);
  std::array<uint8_t, 16> digest;
  MD5(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

uint32_t Md5(std::string_view key) {
  const std::array<uint8_t, 16> digest = Md5Digest(key);
  return LittleEndian32(reinterpret_cast<const char*>(digest.data()));
}

}  // namespace cashew::hash
