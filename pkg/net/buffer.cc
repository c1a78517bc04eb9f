#include "pkg/net/buffer.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <sys/mman.h>

namespace cashew::net {
namespace {

constexpr size_t kWholeSlab = SlabArena::kSlabBytes - sizeof(SlabArena::Slab);
constexpr size_t kSmallChunk = 512;       // holds one short reply
constexpr size_t kFirstChunk = 2 * 1024;  // holds the replies of a short pipeline
constexpr size_t kNextChunk = 16 * 1024;

size_t RoundToPage(size_t n) { return (n + 4095) & ~size_t{4095}; }

}  // namespace

BufferPool::BufferPool(SlabArena* arena)
    : sizes_{SlabPool(arena, kSmallChunk, true),     SlabPool(arena, kFirstChunk, true),
             SlabPool(arena, kNextChunk + 64, true), SlabPool(arena, 64 * 1024 + 64, true),
             SlabPool(arena, 256 * 1024, true),      SlabPool(arena, kWholeSlab, true)},
      segments_(arena, sizeof(Segment), false) {}

Chunk* BufferPool::NewChunk(size_t bytes) {
  const size_t whole = bytes + sizeof(Chunk);
  for (SlabPool& size : sizes_) {
    if (whole > size.object_bytes()) continue;
    const auto capacity = static_cast<uint32_t>(size.object_bytes() - sizeof(Chunk));
    return new (size.Take()) Chunk{1, capacity, 0, 0};
  }
  const size_t mapped = RoundToPage(whole);
  void* at = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  mapped_bytes_.store(mapped_bytes() + static_cast<int64_t>(mapped), std::memory_order_relaxed);
  return new (at)
      Chunk{1, static_cast<uint32_t>(mapped - sizeof(Chunk)), 0, static_cast<uint32_t>(mapped)};
}

void BufferPool::Free(Chunk* chunk) {
  if (chunk->mapped == 0) {
    SlabPool::Give(chunk);
    return;
  }
  mapped_bytes_.store(mapped_bytes() - static_cast<int64_t>(chunk->mapped),
                      std::memory_order_relaxed);
  munmap(chunk, chunk->mapped);
}

void ByteQueue::Push(Segment* segment) {
  if (tail_ != nullptr) {
    tail_->next = segment;
  } else {
    head_ = segment;
  }
  tail_ = segment;
}

// True when bytes may be written right behind the last segment: nobody else holds
// its chunk, and it ends where the chunk is filled.
bool ByteQueue::TailOwnsEnd() const {
  return tail_ != nullptr && tail_->chunk->refs == 1 && tail_->chunk->filled == tail_->end &&
         tail_->chunk->room() > 0;
}

void ByteQueue::Append(BufferPool& pool, std::string_view bytes) {
  while (!bytes.empty()) {
    const iovec room = Reserve(pool, bytes.size());
    memcpy(room.iov_base, bytes.data(), room.iov_len);
    Commit(room.iov_len);
    bytes.remove_prefix(room.iov_len);
  }
}

void ByteQueue::AppendLast(BufferPool& pool, std::string_view bytes) {
  if (size_ == 0 && tail_ == nullptr && bytes.size() <= kSmallChunk - sizeof(Chunk)) {
    Push(pool.NewSegment(pool.NewChunk(bytes.size()), 0, 0));
  }
  Append(pool, bytes);
}

iovec ByteQueue::Reserve(BufferPool& pool, size_t want) {
  // A large read gets a chunk of its own, not the few bytes left of the last.
  const bool cramped =
      want >= kReferenceFrom && tail_ != nullptr && tail_->chunk->room() < kReferenceFrom;
  if (!TailOwnsEnd() || cramped) {
    const size_t usual = size_ == 0 ? kFirstChunk - sizeof(Chunk) : kNextChunk;
    Push(pool.NewSegment(pool.NewChunk(std::max(usual, std::min(want, kWholeSlab - sizeof(Chunk)))),
                         0, 0));
  }
  Chunk* chunk = tail_->chunk;
  return {chunk->data() + chunk->filled, std::min<size_t>(want, chunk->room())};
}

void ByteQueue::Commit(size_t bytes) {
  tail_->chunk->filled += static_cast<uint32_t>(bytes);
  tail_->end += static_cast<uint32_t>(bytes);
  size_ += bytes;
}

void ByteQueue::AppendRef(BufferPool& pool, Chunk* chunk, std::string_view bytes) {
  pool.Ref(chunk);
  const auto begin = static_cast<uint32_t>(bytes.data() - chunk->data());
  Push(pool.NewSegment(chunk, begin, begin + static_cast<uint32_t>(bytes.size())));
  size_ += bytes.size();
}

void ByteQueue::Splice(BufferPool& pool, ByteQueue& other) {
  if (other.head_ == nullptr) return;
  if (other.size_ < kSmallChunk && other.contiguous() && TailOwnsEnd() &&
      tail_->chunk->room() >= other.size_) {
    Append(pool, other.FrontView());
    other.Clear(pool);
    return;
  }
  if (tail_ != nullptr) {
    tail_->next = other.head_;
  } else {
    head_ = other.head_;
  }
  tail_ = other.tail_;
  size_ += other.size_;
  other.head_ = other.tail_ = nullptr;
  other.size_ = 0;
}

void ByteQueue::SpliceFront(BufferPool& pool, ByteQueue& other, size_t bytes) {
  assert(bytes <= other.size_);
  while (bytes > 0 && !other.empty()) {
    Segment* first = other.head_;
    const std::string_view view = other.FrontView();
    if (view.size() > bytes || view.size() < kReferenceFrom) {
      const size_t take = std::min(bytes, view.size());
      AppendEither(pool, first->chunk, view.substr(0, take));
      other.Consume(pool, take);
      bytes -= take;
      continue;
    }
    other.head_ = first->next;
    if (other.head_ == nullptr) other.tail_ = nullptr;
    other.size_ -= view.size();
    first->next = nullptr;
    Push(first);
    size_ += view.size();
    bytes -= view.size();
  }
}

int ByteQueue::Gather(iovec* iov, int max) const {
  int n = 0;
  for (Segment* s = head_; s != nullptr && n < max; s = s->next) {
    if (s->begin == s->end) continue;
    iov[n++] = {s->chunk->data() + s->begin, s->end - s->begin};
  }
  return n;
}

void ByteQueue::Consume(BufferPool& pool, size_t bytes) {
  assert(bytes <= size_);
  size_ -= bytes;
  while (head_ != nullptr) {
    const size_t have = head_->end - head_->begin;
    if (bytes < have) {
      head_->begin += static_cast<uint32_t>(bytes);
      return;
    }
    bytes -= have;
    Segment* done = head_;
    head_ = done->next;
    if (head_ == nullptr) tail_ = nullptr;
    pool.FreeSegment(done);
  }
}

void ByteQueue::Clear(BufferPool& pool) { Consume(pool, size_); }

}  // namespace cashew::net
