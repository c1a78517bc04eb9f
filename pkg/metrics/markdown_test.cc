#include "pkg/metrics/markdown.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace cashew::metrics {
namespace {

constexpr char kReadme[] = "pkg/metrics/README.md";

TEST(MetricsMarkdown, TheReadmeIsMadeFromTheTable) {
  if (std::getenv("CASHEW_REGENERATE_DOCS") != nullptr) {
    std::ofstream(kReadme) << MetricsMarkdown();
  }
  std::ifstream file(kReadme);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), MetricsMarkdown())
      << kReadme << " and the metric table differ. To write it anew, run this test in the root of "
      << "the tree with CASHEW_REGENERATE_DOCS=1.";
}

}  // namespace
}  // namespace cashew::metrics
