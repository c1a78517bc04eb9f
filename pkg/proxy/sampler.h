#pragma once

#include <cstddef>
#include <cstdint>

namespace cashew::proxy {

// Takes one of N things on average, after gaps of random length: a client that asks in a
// rhythm of N is seen as it is. Costs a subtraction for each thing that is passed over.
class Sampler {
 public:
  // `sample` of 0 takes nothing.
  explicit Sampler(int64_t sample = 0) : sample_(sample), left_(sample > 0 ? 1 : 0) {}

  bool on() const { return sample_ > 0; }
  int64_t sample() const { return sample_; }

  // `count` things go by; `take` is called with the index of each that is taken. `random`
  // gives at least 31 bits. REQUIRES: on().
  template <typename Random, typename Take>
  void Pass(size_t count, Random random, Take take) {
    size_t at = 0;
    while (count - at >= left_) {
      at += left_;
      take(at - 1);
      left_ = Gap(random());
    }
    left_ -= count - at;
  }

 private:
  // 1 to 2N-1, evenly: N on average.
  uint64_t Gap(uint64_t random) const {
    return 1 + random % (2 * static_cast<uint64_t>(sample_) - 1);
  }

  int64_t sample_;
  uint64_t left_;  // the next one to take, counted from 1
};

}  // namespace cashew::proxy
