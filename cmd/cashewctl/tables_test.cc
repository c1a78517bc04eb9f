#include "cmd/cashewctl/tables.h"

#include <gtest/gtest.h>

namespace cashew::ctl {
namespace {

TEST(Tables, ColumnsAreAlignedAndLinesHaveNoTail) {
  Table table({{"NAME"}, {"N", Align::kRight}, {"ZONE"}});
  table.Add({"a", "1", ""});
  table.Add({"longer", "123", "eu"});
  EXPECT_EQ(table.Render(false),
            "NAME      N  ZONE\n"
            "a         1  -\n"
            "longer  123  eu\n");
}

TEST(Tables, ColoursAreForTerminalsOnly) {
  Table table({{"NAME"}});
  table.Add({"sick"}, Tone::kBad);
  EXPECT_EQ(table.Render(false), "NAME\nsick\n");
  EXPECT_EQ(table.Render(true), "\x1b[1mNAME\x1b[0m\n\x1b[31msick\x1b[0m\n");
}

TEST(Tables, NoCellCanMoveTheCursor) {
  Table table({{"NAME"}});
  table.Add({"a\x1b[2J\nb\xc2\x9b"});
  EXPECT_EQ(table.Render(false), "NAME\na\\x1b[2J\\x0ab\\xc2\\x9b\n");
}

TEST(Tables, OtherAlphabetsStayAndCountAsCharacters) {
  EXPECT_EQ(Printable("Zürich"), "Zürich");
  EXPECT_EQ(DisplayWidth("Zürich"), 6U);
}

TEST(Tables, FactsStandUnderEachOther) {
  EXPECT_EQ(Facts({{"pool", "alpha"}, {"ready", "no\nno servers\n"}, {"x", ""}}),
            "pool   alpha\n"
            "ready  no\n"
            "       no servers\n"
            "x\n");
}

}  // namespace
}  // namespace cashew::ctl
