#include "pkg/ring/server.h"

namespace cashew::ring {

bool NameLess(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

}  // namespace cashew::ring
