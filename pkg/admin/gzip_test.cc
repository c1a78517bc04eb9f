#include "pkg/admin/gzip.h"

#include <gtest/gtest.h>
#include <zlib.h>

namespace cashew::admin {
namespace {

std::string Gunzip(const std::string& bytes, size_t size) {
  std::string out(size, '\0');
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  EXPECT_EQ(stream.total_out, size);
  inflateEnd(&stream);
  return out;
}

TEST(Gzip, GivesBackWhatWentIn) {
  std::string text;
  for (int i = 0; i < 10'000; ++i)
    text += "cashew_requests_total{pool=\"" + std::to_string(i) + "\"}\n";
  const auto zipped = Gzip(text);
  ASSERT_TRUE(zipped.has_value());
  EXPECT_LT(zipped->size(), text.size() / 5);
  EXPECT_EQ(Gunzip(*zipped, text.size()), text);
  EXPECT_EQ(Gunzip(Gzip("x").value(), 1), "x");
}

TEST(Gzip, IsGivenToWhoeverAcceptsIt) {
  for (const char* yes : {"gzip", "GZIP", "gzip, deflate, br", "deflate,gzip;q=0.5", "*",
                          "br;q=1.0, gzip;q=0.8, *;q=0.1", " gzip ", "x-gzip", "*;q=0, gzip"}) {
    EXPECT_TRUE(AcceptsGzip(yes)) << yes;
  }
  for (const char* no : {"", "identity", "deflate", "gzip;q=0", "gzip; q=0.000", "gzip;q=0, *",
                         "*;q=0", "gzipped", ",,,", ";;;", "gzip;Q=0"}) {
    EXPECT_FALSE(AcceptsGzip(no)) << no;
  }
}

}  // namespace
}  // namespace cashew::admin
