#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cashew::net {

// Memory of one thread, in slabs of 2 MiB that go back to the system when they
// are empty. malloc would keep a spike's memory for ever: a few live pieces
// between the freed ones pin the heap (measured: 1 GiB stays resident).
//
// Everything here belongs to one thread, except bytes_in_use().
class SlabArena {
 public:
  static constexpr size_t kSlabBytes = size_t{2} << 20;

  // The head of each slab; objects follow it.
  struct alignas(64) Slab {
    class SlabPool* owner;
    Slab* prev;
    Slab* next;
    void* free;       // objects given back, linked through their first word
    uint32_t used;    // objects handed out
    uint32_t carved;  // objects ever handed out; those after have not been touched
    bool listed;      // in its pool's list of slabs with room
  };

  SlabArena() = default;
  ~SlabArena();
  SlabArena(const SlabArena&) = delete;
  SlabArena& operator=(const SlabArena&) = delete;

  // Returns up to `max` empty slabs to the system, keeping `keep`. Called a few
  // slabs at a time, since unmapping costs about 0.2 ms a slab.
  void GiveBack(size_t max, size_t keep);
  size_t empty_slabs() const { return empty_count_; }

  // Bytes of objects handed out, by any pool that counts. Read by any thread.
  int64_t bytes_in_use() const { return bytes_in_use_.load(std::memory_order_relaxed); }

 private:
  friend class SlabPool;
  Slab* TakeSlab();
  void GiveSlab(Slab* slab);
  void Count(int64_t bytes) {
    bytes_in_use_.store(bytes_in_use_.load(std::memory_order_relaxed) + bytes,
                        std::memory_order_relaxed);
  }

  Slab* empty_ = nullptr;
  size_t empty_count_ = 0;
  std::atomic<int64_t> bytes_in_use_{0};
};

// Objects of one size. Take and Give are a few instructions each; neither
// constructs nor destroys.
class SlabPool {
 public:
  // `arena` outlives the pool. With `counted`, objects show in bytes_in_use().
  SlabPool(SlabArena* arena, size_t object_bytes, bool counted);

  void* Take();
  static void Give(void* object);  // to the pool it came from

  size_t object_bytes() const { return object_bytes_; }
  int64_t used() const { return used_; }

 private:
  using Slab = SlabArena::Slab;
  void Link(Slab* slab);
  void Unlink(Slab* slab);

  SlabArena* const arena_;
  const size_t object_bytes_;
  const uint32_t per_slab_;
  const bool counted_;
  Slab* with_room_ = nullptr;
  int64_t used_ = 0;
};

// A SlabPool that constructs and destroys.
template <typename T>
class ObjectPool {
 public:
  explicit ObjectPool(SlabArena* arena) : pool_(arena, sizeof(T), true) {}
  template <typename... Args>
  T* New(Args&&... args) {
    return new (pool_.Take()) T(static_cast<Args&&>(args)...);
  }
  static void Delete(T* object) {
    object->~T();
    SlabPool::Give(object);
  }
  int64_t used() const { return pool_.used(); }

 private:
  SlabPool pool_;
};

}  // namespace cashew::net
