#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cashew::ring {

// What a ring knows of a server. The name is its place in the ring; its address is
// nobody's business here, so a server that moves takes its keys along.
struct RingServer {
  std::string name;
  uint32_t weight = 1;
  bool live = true;
};

// A hash value's place, as a person would look it up.
struct Location {
  int32_t server = -1;       // index of the server, -1 when none has a share
  uint32_t point_value = 0;  // ketama: value of the point; modula: slot; random: as point_index
  size_t point_index = 0;    // ketama: position of the point in the sorted ring; modula: slot;
                             // random: position among the live servers

  friend bool operator==(const Location&, const Location&) = default;
};

// The index order of a pool's servers, and of pools: shorter names first, then
// bytewise (as unsigned bytes). nutcracker: nc_string.c, string_compare().
bool NameLess(std::string_view a, std::string_view b);

}  // namespace cashew::ring
