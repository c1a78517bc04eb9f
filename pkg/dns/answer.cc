#include "pkg/dns/answer.h"

#include <algorithm>

namespace cashew::dns {

std::string Keep(const std::string& current, const Answer& answer) {
  const std::vector<std::string>& ips = answer.ips;
  if (ips.empty() || std::find(ips.begin(), ips.end(), current) != ips.end()) return current;
  return ips.front();
}

}  // namespace cashew::dns
