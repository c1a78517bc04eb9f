#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <sys/uio.h>

#include "pkg/net/slab.h"

namespace cashew::net {

class BufferPool;

// A counted piece of memory. Counts are plain integers: a chunk never leaves the
// thread of its pool. Data follows the header.
struct Chunk {
  uint32_t refs;
  uint32_t capacity;
  uint32_t filled;  // bytes written by whoever appends at the end
  uint32_t mapped;  // bytes of its own mapping; 0 when it lives in a slab

  char* data() { return reinterpret_cast<char*>(this + 1); }
  uint32_t room() const { return capacity - filled; }
};

// A stretch of a chunk, in a queue.
struct Segment {
  Chunk* chunk;
  uint32_t begin;
  uint32_t end;
  Segment* next;
};

// Chunks in a few sizes and the segments that queue them, from one thread's
// slabs. What is larger than a slab has a mapping of its own.
class BufferPool {
 public:
  explicit BufferPool(SlabArena* arena);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A chunk that holds at least `bytes`, with one reference.
  Chunk* NewChunk(size_t bytes);
  void Ref(Chunk* chunk) { ++chunk->refs; }
  void Unref(Chunk* chunk) {
    if (--chunk->refs == 0) Free(chunk);
  }

  Segment* NewSegment(Chunk* chunk, uint32_t begin, uint32_t end) {
    return new (segments_.Take()) Segment{chunk, begin, end, nullptr};
  }
  // Drops the segment's reference to its chunk as well.
  void FreeSegment(Segment* segment) {
    Unref(segment->chunk);
    SlabPool::Give(segment);
  }

  // Bytes held by chunks with mappings of their own.
  int64_t mapped_bytes() const { return mapped_bytes_.load(std::memory_order_relaxed); }

 private:
  void Free(Chunk* chunk);

  std::array<SlabPool, 6> sizes_;
  SlabPool segments_;
  std::atomic<int64_t> mapped_bytes_{0};
};

// A queue of bytes: small pieces are copied to its end, large ones are held by
// reference. Its memory is the pool's; an empty queue holds none.
class ByteQueue {
 public:
  // From here on a reference costs less than a copy (measured; below it the
  // bookkeeping and the colder memory cost as much).
  static constexpr size_t kReferenceFrom = 16 * 1024;

  ByteQueue() = default;
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;

  void Append(BufferPool& pool, std::string_view bytes);
  // The same; an empty queue takes no more memory than `bytes` need, since nothing is
  // expected to follow.
  void AppendLast(BufferPool& pool, std::string_view bytes);
  // `bytes` lies within `chunk`, of which the queue takes a reference.
  void AppendRef(BufferPool& pool, Chunk* chunk, std::string_view bytes);
  // Copies or refers, as the size says. `chunk` may be null: then it copies.
  void AppendEither(BufferPool& pool, Chunk* chunk, std::string_view bytes) {
    if (chunk != nullptr && bytes.size() >= kReferenceFrom) {
      AppendRef(pool, chunk, bytes);
    } else {
      Append(pool, bytes);
    }
  }
  // Moves all of `other` to the end; `other` is empty afterwards. What is small is
  // copied where there is room for it, so that one write finds it in one piece.
  void Splice(BufferPool& pool, ByteQueue& other);
  // Moves the first `bytes` of `other` to the end.
  void SpliceFront(BufferPool& pool, ByteQueue& other, size_t bytes);

  // Room at the end to read into: at least 1 byte, at most `want`. Bytes put
  // there count after Commit().
  iovec Reserve(BufferPool& pool, size_t want);
  void Commit(size_t bytes);

  // Fills `iov` from the front; returns how many entries.
  int Gather(iovec* iov, int max) const;
  void Consume(BufferPool& pool, size_t bytes);
  void Clear(BufferPool& pool);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // The first segment's bytes; all of the queue when it has one segment.
  std::string_view FrontView() const {
    if (head_ == nullptr) return {};
    return {head_->chunk->data() + head_->begin, head_->end - head_->begin};
  }
  bool contiguous() const { return head_ == tail_; }

 private:
  void Push(Segment* segment);
  bool TailOwnsEnd() const;

  Segment* head_ = nullptr;
  Segment* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cashew::net
