#include "pkg/net/slab.h"

#include <cassert>
#include <cstdlib>
#include <new>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define CASHEW_POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define CASHEW_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define CASHEW_POISON(p, n) (void)0
#define CASHEW_UNPOISON(p, n) (void)0
#endif

namespace cashew::net {
namespace {

constexpr size_t kHeader = sizeof(SlabArena::Slab);

// Aligned to its size, so that an object finds its slab by masking its address.
// Small pages: an idle slab must not cost 2 MiB of resident memory.
void* MapSlab() {
  constexpr size_t kBytes = SlabArena::kSlabBytes;
  void* raw = mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) throw std::bad_alloc();
  const uintptr_t begin = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (begin + kBytes - 1) & ~(kBytes - 1);
  if (aligned > begin) munmap(raw, aligned - begin);
  const uintptr_t end = begin + 2 * kBytes;
  if (end > aligned + kBytes)
    munmap(reinterpret_cast<void*>(aligned + kBytes), end - aligned - kBytes);
  void* slab = reinterpret_cast<void*>(aligned);
  madvise(slab, kBytes, MADV_NOHUGEPAGE);
  return slab;
}

void UnmapSlab(SlabArena::Slab* slab) {
  CASHEW_UNPOISON(slab, SlabArena::kSlabBytes);
  munmap(slab, SlabArena::kSlabBytes);
}

}  // namespace

SlabArena::~SlabArena() { GiveBack(empty_count_, 0); }

void SlabArena::GiveBack(size_t max, size_t keep) {
  while (max > 0 && empty_count_ > keep) {
    Slab* slab = empty_;
    empty_ = slab->next;
    --empty_count_;
    --max;
    UnmapSlab(slab);
  }
}

SlabArena::Slab* SlabArena::TakeSlab() {
  if (empty_ == nullptr) return new (MapSlab()) Slab{};
  Slab* slab = empty_;
  empty_ = slab->next;
  --empty_count_;
  *slab = Slab{};
  return slab;
}

void SlabArena::GiveSlab(Slab* slab) {
  slab->next = empty_;
  empty_ = slab;
  ++empty_count_;
}

SlabPool::SlabPool(SlabArena* arena, size_t object_bytes, bool counted)
    : arena_(arena),
      object_bytes_((object_bytes + 15) & ~size_t{15}),
      per_slab_(static_cast<uint32_t>((SlabArena::kSlabBytes - kHeader) / object_bytes_)),
      counted_(counted) {
  assert(per_slab_ > 0);
}

void SlabPool::Link(Slab* slab) {
  slab->prev = nullptr;
  slab->next = with_room_;
  if (with_room_ != nullptr) with_room_->prev = slab;
  with_room_ = slab;
  slab->listed = true;
}

void SlabPool::Unlink(Slab* slab) {
  if (slab->prev != nullptr) slab->prev->next = slab->next;
  if (slab->next != nullptr) slab->next->prev = slab->prev;
  if (with_room_ == slab) with_room_ = slab->next;
  slab->listed = false;
}

void* SlabPool::Take() {
  Slab* slab = with_room_;
  if (slab == nullptr) {
    slab = arena_->TakeSlab();
    slab->owner = this;
    Link(slab);
  }
  void* object;
  if (slab->free != nullptr) {
    object = slab->free;
    CASHEW_UNPOISON(object, object_bytes_);
    slab->free = *static_cast<void**>(object);
  } else {
    object = reinterpret_cast<char*>(slab) + kHeader + object_bytes_ * slab->carved++;
    CASHEW_UNPOISON(object, object_bytes_);
  }
  if (++slab->used == per_slab_) Unlink(slab);
  ++used_;
  if (counted_) arena_->Count(static_cast<int64_t>(object_bytes_));
  return object;
}

void SlabPool::Give(void* object) {
  Slab* slab = reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(object) &
                                       ~(uintptr_t{SlabArena::kSlabBytes} - 1));
  SlabPool* pool = slab->owner;
  *static_cast<void**>(object) = slab->free;
  slab->free = object;
  CASHEW_POISON(object, pool->object_bytes_);
  --pool->used_;
  if (pool->counted_) pool->arena_->Count(-static_cast<int64_t>(pool->object_bytes_));
  if (!slab->listed) pool->Link(slab);
  if (--slab->used == 0) {
    pool->Unlink(slab);
    pool->arena_->GiveSlab(slab);
  }
}

}  // namespace cashew::net
