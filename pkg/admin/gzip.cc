#include "pkg/admin/gzip.h"

#include <algorithm>
#include <cctype>
#include <zlib.h>

namespace cashew::admin {
namespace {

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// The text before `separator`, which is taken off `rest` with it.
std::string_view Cut(std::string_view* rest, char separator) {
  const size_t at = rest->find(separator);
  const std::string_view front = rest->substr(0, at);
  rest->remove_prefix(at == std::string_view::npos ? rest->size() : at + 1);
  return Trim(front);
}

bool Equal(std::string_view text, std::string_view lower_case) {
  return std::equal(
      text.begin(), text.end(), lower_case.begin(), lower_case.end(),
      [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; });
}

// "q=0", "q=0.000".
bool IsZeroWeight(std::string_view parameter) {
  const std::string_view name = Cut(&parameter, '=');
  const std::string_view weight = Trim(parameter);
  return Equal(name, "q") && !weight.empty() && weight.front() == '0' &&
         weight.find_first_not_of("0.") == std::string_view::npos;
}

}  // namespace

bool AcceptsGzip(std::string_view accept_encoding) {
  bool any = false;
  while (!accept_encoding.empty()) {
    std::string_view coding = Cut(&accept_encoding, ',');
    const std::string_view name = Cut(&coding, ';');
    bool accepted = true;
    while (!coding.empty()) accepted = accepted && !IsZeroWeight(Cut(&coding, ';'));
    if (Equal(name, "gzip") || Equal(name, "x-gzip")) return accepted;
    if (name == "*") any = accepted;
  }
  return any;
}

std::optional<std::string> Gzip(std::string_view text) {
  constexpr int kWindowBits = 15;
  constexpr int kAsGzip = 16;
  constexpr int kMemoryLevel = 8;
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kWindowBits + kAsGzip, kMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return std::nullopt;
  }
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) return std::nullopt;
  return out;
}

}  // namespace cashew::admin
