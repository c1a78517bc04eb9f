#pragma once

#include <string_view>

namespace cashew::admin {

// The live status page: a table of pools and their servers that asks /status.json every two
// seconds and shows rates and quantiles of what happened in between. Everything it needs is
// in this binary, so it works where the internet does not.
extern const std::string_view kStatusHtml;
extern const std::string_view kStatusJs;
extern const std::string_view kStatusCss;

}  // namespace cashew::admin
