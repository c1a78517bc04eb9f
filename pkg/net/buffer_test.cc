#include "pkg/net/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

namespace cashew::net {
namespace {

std::string Pattern(size_t bytes, unsigned seed) {
  std::string text(bytes, '\0');
  std::mt19937 random(seed);
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

std::string Contents(const ByteQueue& queue) {
  std::vector<iovec> iov(100'000);
  const int n = queue.Gather(iov.data(), static_cast<int>(iov.size()));
  std::string text;
  for (int i = 0; i < n; ++i) text.append(static_cast<char*>(iov[i].iov_base), iov[i].iov_len);
  return text;
}

class Buffer : public testing::Test {
 protected:
  // Whatever a test did, all memory is given back in the end.
  void TearDown() override {
    EXPECT_EQ(arena_.bytes_in_use(), 0);
    EXPECT_EQ(pool_.mapped_bytes(), 0);
  }

  // A chunk of its own that holds `text`, with one reference.
  Chunk* Filled(std::string_view text) {
    Chunk* chunk = pool_.NewChunk(text.size());
    memcpy(chunk->data(), text.data(), text.size());
    chunk->filled = static_cast<uint32_t>(text.size());
    return chunk;
  }

  SlabArena arena_;
  BufferPool pool_{&arena_};
};

TEST_F(Buffer, AChunkHoldsWhatWasAskedFor) {
  for (size_t bytes :
       {1u, 2000u, 2048u, 16'384u, 65'536u, 262'144u, 1u << 20, 2u << 20, 10u << 20}) {
    Chunk* chunk = pool_.NewChunk(bytes);
    ASSERT_GE(chunk->capacity, bytes);
    EXPECT_EQ(chunk->refs, 1u);
    EXPECT_EQ(chunk->filled, 0u);
    memset(chunk->data(), 1, chunk->capacity);
    EXPECT_EQ(chunk->mapped != 0, bytes >= 2u << 20) << "larger than a slab: its own mapping";
    pool_.Unref(chunk);
  }
}

TEST_F(Buffer, AChunkLivesUntilItsLastReferenceGoes) {
  Chunk* chunk = pool_.NewChunk(3 << 20);
  pool_.Ref(chunk);
  pool_.Unref(chunk);
  EXPECT_GT(pool_.mapped_bytes(), 3 << 20);
  pool_.Unref(chunk);
  EXPECT_EQ(pool_.mapped_bytes(), 0);
}

TEST_F(Buffer, AnEmptyQueueHoldsNothing) {
  ByteQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.contiguous());
  EXPECT_EQ(queue.FrontView(), "");
  iovec iov[1];
  EXPECT_EQ(queue.Gather(iov, 1), 0);
  queue.Append(pool_, "");
  queue.Clear(pool_);
  EXPECT_EQ(arena_.bytes_in_use(), 0);
}

TEST_F(Buffer, SmallPiecesAreCopiedTogether) {
  ByteQueue queue;
  queue.Append(pool_, "get ");
  queue.Append(pool_, "key");
  queue.Append(pool_, "\r\n");
  EXPECT_EQ(queue.size(), 9u);
  EXPECT_TRUE(queue.contiguous());
  EXPECT_EQ(queue.FrontView(), "get key\r\n");
  queue.Clear(pool_);
}

TEST_F(Buffer, AppendSpansChunks) {
  for (size_t bytes : {2'031u, 2'032u, 2'033u, 20'000u, 300'000u, 5'000'000u}) {
    ByteQueue queue;
    const std::string text = Pattern(bytes, 1);
    queue.Append(pool_, "head");
    queue.Append(pool_, text);
    queue.Append(pool_, "tail");
    EXPECT_EQ(queue.size(), bytes + 8);
    EXPECT_TRUE(Contents(queue) == "head" + text + "tail") << bytes;
    queue.Clear(pool_);
    EXPECT_EQ(arena_.bytes_in_use(), 0) << bytes;
  }
}

TEST_F(Buffer, AReferenceIsNotACopy) {
  const std::string text = Pattern(100'000, 2);
  Chunk* chunk = Filled(text);
  ByteQueue queue;
  queue.AppendRef(pool_, chunk, {chunk->data() + 10, 50'000});
  EXPECT_EQ(chunk->refs, 2u);
  EXPECT_EQ(queue.FrontView().data(), chunk->data() + 10);
  pool_.Unref(chunk);
  EXPECT_TRUE(Contents(queue) == text.substr(10, 50'000)) << "the queue keeps the chunk alive";
  queue.Clear(pool_);
}

TEST_F(Buffer, TheSizeDecidesBetweenCopyAndReference) {
  const std::string text = Pattern(40'000, 3);
  Chunk* chunk = Filled(text);
  ByteQueue queue;
  queue.AppendEither(pool_, chunk, {chunk->data(), ByteQueue::kReferenceFrom - 1});
  EXPECT_EQ(chunk->refs, 1u);
  queue.AppendEither(pool_, chunk, {chunk->data(), ByteQueue::kReferenceFrom});
  EXPECT_EQ(chunk->refs, 2u);
  queue.AppendEither(pool_, nullptr, text);
  EXPECT_EQ(chunk->refs, 2u) << "without a chunk there is nothing to refer to";
  EXPECT_EQ(queue.size(), 2 * ByteQueue::kReferenceFrom - 1 + text.size());
  pool_.Unref(chunk);
  queue.Clear(pool_);
}

TEST_F(Buffer, WhatIsWrittenBehindAReferenceLeavesTheChunkAlone) {
  Chunk* chunk = pool_.NewChunk(20'000);
  memset(chunk->data(), 'x', 17'000);
  chunk->filled = 17'000;
  ByteQueue queue;
  queue.AppendRef(pool_, chunk, {chunk->data(), 17'000});
  queue.Append(pool_, "after");
  EXPECT_EQ(chunk->filled, 17'000u) << "its owner goes on to fill it";
  memset(chunk->data() + chunk->filled, 'y', chunk->room());
  EXPECT_EQ(Contents(queue), std::string(17'000, 'x') + "after");
  pool_.Unref(chunk);
  queue.Clear(pool_);
}

TEST_F(Buffer, TwoQueuesThatShareAChunkNeverOverwriteEachOther) {
  Chunk* chunk = pool_.NewChunk(40'000);
  memset(chunk->data(), 'x', 17'000);
  chunk->filled = 17'000;
  ByteQueue a;
  ByteQueue b;
  a.AppendRef(pool_, chunk, {chunk->data(), 17'000});
  b.AppendRef(pool_, chunk, {chunk->data(), 17'000});
  pool_.Unref(chunk);
  a.Append(pool_, "aaaa");
  b.Append(pool_, "bbbb");
  EXPECT_EQ(Contents(a), std::string(17'000, 'x') + "aaaa");
  EXPECT_EQ(Contents(b), std::string(17'000, 'x') + "bbbb");
  // When one lets go, the other may use the chunk's end.
  a.Clear(pool_);
  b.Append(pool_, "cccc");
  EXPECT_EQ(Contents(b), std::string(17'000, 'x') + "bbbbcccc");
  b.Clear(pool_);
}

TEST_F(Buffer, ASharedChunkWhoseEndWasConsumedElsewhereIsNotOverwritten) {
  Chunk* chunk = pool_.NewChunk(60'000);
  memset(chunk->data(), 'x', 40'000);
  chunk->filled = 40'000;
  ByteQueue a;
  ByteQueue b;
  a.AppendRef(pool_, chunk, {chunk->data(), 20'000});  // its end is not where the chunk ends
  b.AppendRef(pool_, chunk, {chunk->data() + 20'000, 20'000});
  pool_.Unref(chunk);
  b.Clear(pool_);
  a.Append(pool_, "more");
  EXPECT_EQ(Contents(a), std::string(20'000, 'x') + "more");
  a.Clear(pool_);
}

TEST_F(Buffer, SpliceMovesEverything) {
  ByteQueue a;
  ByteQueue b;
  a.Splice(pool_, b);
  EXPECT_TRUE(a.empty());
  b.Append(pool_, "second");
  a.Append(pool_, "first ");
  a.Splice(pool_, b);
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(a.size(), 12u);
  EXPECT_EQ(Contents(a), "first second");
  b.Append(pool_, "third");
  a.Append(pool_, " and ");
  EXPECT_EQ(Contents(b), "third");
  a.Splice(pool_, b);
  EXPECT_EQ(Contents(a), "first second and third");
  b.Splice(pool_, a);
  EXPECT_EQ(Contents(b), "first second and third") << "into an empty queue";
  b.Clear(pool_);
}

TEST_F(Buffer, SmallPiecesAreSplicedIntoOnePiece) {
  ByteQueue out;
  out.Append(pool_, "0");
  for (int i = 1; i < 100; ++i) {
    ByteQueue piece;
    piece.AppendLast(pool_, "reply");
    out.Splice(pool_, piece);
    EXPECT_TRUE(piece.empty());
  }
  EXPECT_EQ(out.size(), 1u + 99 * 5);
  EXPECT_TRUE(out.contiguous()) << "one write finds them in one piece";
  out.Clear(pool_);
}

TEST_F(Buffer, AppendLastTakesNoMoreMemoryThanItNeeds) {
  const int64_t before = arena_.bytes_in_use();
  ByteQueue small;
  small.AppendLast(pool_, std::string(100, 'x'));
  EXPECT_LE(arena_.bytes_in_use() - before, 512);
  small.AppendLast(pool_, std::string(1000, 'y'));
  EXPECT_EQ(Contents(small), std::string(100, 'x') + std::string(1000, 'y'));
  small.Clear(pool_);
  EXPECT_EQ(arena_.bytes_in_use(), before);
}

TEST_F(Buffer, SpliceFrontAtEveryBoundary) {
  const std::string small = Pattern(100, 4);
  const std::string large = Pattern(20'000, 5);
  const std::string whole = small + large + small;
  for (size_t cut :
       {0u, 1u, 99u, 100u, 101u, 16'483u, 16'484u, 20'099u, 20'100u, 20'101u, 20'200u}) {
    Chunk* chunk = Filled(large);
    ByteQueue from;
    from.Append(pool_, small);
    from.AppendRef(pool_, chunk, {chunk->data(), large.size()});
    from.Append(pool_, small);
    pool_.Unref(chunk);
    ByteQueue to;
    to.Append(pool_, "to:");
    to.SpliceFront(pool_, from, cut);
    EXPECT_EQ(to.size(), cut + 3);
    EXPECT_EQ(from.size(), whole.size() - cut);
    EXPECT_TRUE(Contents(to) == "to:" + whole.substr(0, cut)) << cut;
    EXPECT_TRUE(Contents(from) == whole.substr(cut)) << cut;
    to.Append(pool_, "!");
    from.Append(pool_, "?");
    EXPECT_TRUE(Contents(to) == "to:" + whole.substr(0, cut) + "!") << cut;
    EXPECT_TRUE(Contents(from) == whole.substr(cut) + "?") << cut;
    to.Clear(pool_);
    from.Clear(pool_);
    EXPECT_EQ(arena_.bytes_in_use(), 0) << cut;
  }
}

TEST_F(Buffer, ConsumeAtEveryBoundary) {
  const std::string text = Pattern(6'000, 6);
  for (size_t cut = 0; cut <= text.size(); cut += cut < 10 || cut > 5'990 ? 1 : 61) {
    ByteQueue queue;
    queue.Append(pool_, text);
    queue.Consume(pool_, cut);
    ASSERT_EQ(queue.size(), text.size() - cut);
    ASSERT_TRUE(Contents(queue) == text.substr(cut)) << cut;
    queue.Append(pool_, "end");
    ASSERT_TRUE(Contents(queue) == text.substr(cut) + "end") << cut;
    queue.Consume(pool_, queue.size());
    ASSERT_TRUE(queue.empty());
    ASSERT_EQ(arena_.bytes_in_use(), 0) << "an empty queue holds no memory, cut at " << cut;
  }
}

TEST_F(Buffer, ReadsGoToReservedRoom) {
  ByteQueue queue;
  std::string expected;
  for (size_t want : {1u, 100u, 5'000u, 16'384u, 100'000u, 3'000'000u}) {
    const iovec room = queue.Reserve(pool_, want);
    ASSERT_GE(room.iov_len, 1u);
    ASSERT_LE(room.iov_len, want);
    const std::string text = Pattern(room.iov_len / 2, static_cast<unsigned>(want));
    memcpy(room.iov_base, text.data(), text.size());
    queue.Commit(text.size());
    expected += text;
    ASSERT_EQ(queue.size(), expected.size());
  }
  EXPECT_TRUE(Contents(queue) == expected);
  queue.Clear(pool_);
}

TEST_F(Buffer, ALargeReadIsNotSqueezedIntoTheRestOfAChunk) {
  ByteQueue queue;
  queue.Append(pool_, "short");
  EXPECT_GE(queue.Reserve(pool_, 100'000).iov_len, ByteQueue::kReferenceFrom);
  queue.Clear(pool_);
}

TEST_F(Buffer, RoomThatWasNotUsedDoesNotShow) {
  ByteQueue queue;
  queue.Reserve(pool_, 50'000);
  EXPECT_TRUE(queue.empty());
  iovec iov[4];
  EXPECT_EQ(queue.Gather(iov, 4), 0);
  Chunk* chunk = Filled(Pattern(20'000, 7));
  queue.AppendRef(pool_, chunk, {chunk->data(), 20'000});
  pool_.Unref(chunk);
  EXPECT_EQ(queue.Gather(iov, 4), 1) << "an empty stretch is passed over";
  EXPECT_TRUE(Contents(queue) == Pattern(20'000, 7));
  ByteQueue other;
  other.SpliceFront(pool_, queue, 20'000);
  EXPECT_TRUE(Contents(other) == Pattern(20'000, 7));
  other.Clear(pool_);
  queue.Reserve(pool_, 1);
  queue.Clear(pool_);
}

TEST_F(Buffer, GatherStopsAtItsLimit) {
  ByteQueue queue;
  Chunk* chunk = Filled(Pattern(20'000, 8));
  for (int i = 0; i < 10; ++i) queue.AppendRef(pool_, chunk, {chunk->data(), 20'000});
  pool_.Unref(chunk);
  iovec iov[4];
  EXPECT_EQ(queue.Gather(iov, 4), 4);
  queue.Clear(pool_);
}

// The model: a queue is a string. Any sequence of operations on four queues does
// to their contents what it does to four strings.
TEST_F(Buffer, BehavesAsAStringUnderAnySequence) {
  const char* scale = getenv("CASHEW_TEST_SCALE");
  const int steps = static_cast<int>(30'000 * (scale != nullptr ? atof(scale) : 1.0));
  constexpr size_t kQueues = 4;
  std::mt19937 random(7);
  ByteQueue queues[kQueues];
  std::string models[kQueues];
  const std::string source = Pattern(70'000, 9);
  Chunk* shared = Filled(source);
  for (int step = 0; step < steps; ++step) {
    const size_t i = random() % kQueues;
    const size_t j = (i + 1 + random() % (kQueues - 1)) % kQueues;
    const size_t size = random() % (random() % 8 == 0 ? source.size() : 300);
    const size_t begin = random() % (source.size() - size);
    ByteQueue& queue = queues[i];
    std::string& model = models[i];
    switch (random() % 8) {
      case 0:
      case 1:
        queue.Append(pool_, std::string_view(source).substr(begin, size));
        model.append(source, begin, size);
        break;
      case 2:
        queue.AppendEither(pool_, shared, {shared->data() + begin, size});
        model.append(source, begin, size);
        break;
      case 3: {
        const iovec room = queue.Reserve(pool_, size + 1);
        const size_t used = random() % 3 == 0 ? 0 : random() % (room.iov_len + 1);
        const size_t n = std::min(used, source.size());
        memcpy(room.iov_base, source.data(), n);
        queue.Commit(n);
        model.append(source, 0, n);
        break;
      }
      case 4:
      case 5: {
        const size_t n = model.empty() ? 0 : random() % (model.size() + 1);
        queue.Consume(pool_, n);
        model.erase(0, n);
        break;
      }
      case 6:
        queue.Splice(pool_, queues[j]);
        model += models[j];
        models[j].clear();
        break;
      case 7: {
        const size_t n = models[j].empty() ? 0 : random() % (models[j].size() + 1);
        queue.SpliceFront(pool_, queues[j], n);
        model.append(models[j], 0, n);
        models[j].erase(0, n);
        break;
      }
    }
    if (model.size() > 1'000'000) {
      queue.Clear(pool_);
      model.clear();
    }
    for (size_t k = 0; k < kQueues; ++k) ASSERT_EQ(queues[k].size(), models[k].size());
    if (step % 16 == 0) {
      ASSERT_TRUE(Contents(queue) == model) << "step " << step;
    }
  }
  for (size_t k = 0; k < kQueues; ++k) {
    EXPECT_TRUE(Contents(queues[k]) == models[k]);
    queues[k].Clear(pool_);
  }
  EXPECT_EQ(shared->refs, 1u);
  EXPECT_TRUE(std::string_view(shared->data(), source.size()) == source)
      << "nobody wrote into what others refer to";
  pool_.Unref(shared);
}

}  // namespace
}  // namespace cashew::net
