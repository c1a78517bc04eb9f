#include "pkg/net/slab.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace cashew::net {
namespace {

TEST(Slab, ObjectsDoNotOverlapAndAreAligned) {
  SlabArena arena;
  SlabPool pool(&arena, 100, true);
  EXPECT_EQ(pool.object_bytes(), 112u) << "rounded up to 16";
  std::vector<char*> objects;
  for (int i = 0; i < 50'000; ++i) {
    auto* object = static_cast<char*>(pool.Take());
    ASSERT_EQ(reinterpret_cast<uintptr_t>(object) % 16, 0u);
    memset(object, i & 0xff, pool.object_bytes());
    objects.push_back(object);
  }
  for (size_t i = 0; i < objects.size(); ++i) {
    ASSERT_EQ(objects[i][0], static_cast<char>(i & 0xff));
    ASSERT_EQ(objects[i][pool.object_bytes() - 1], static_cast<char>(i & 0xff));
  }
  for (char* object : objects) SlabPool::Give(object);
}

TEST(Slab, CountsWhatIsHandedOut) {
  SlabArena arena;
  SlabPool counted(&arena, 64, true);
  SlabPool silent(&arena, 64, false);
  void* a = counted.Take();
  void* b = silent.Take();
  EXPECT_EQ(arena.bytes_in_use(), 64);
  EXPECT_EQ(counted.used(), 1);
  EXPECT_EQ(silent.used(), 1);
  SlabPool::Give(a);
  SlabPool::Give(b);
  EXPECT_EQ(arena.bytes_in_use(), 0);
  EXPECT_EQ(counted.used(), 0);
  EXPECT_EQ(silent.used(), 0);
}

TEST(Slab, AnObjectGivenBackIsTheNextOneTaken) {
  SlabArena arena;
  SlabPool pool(&arena, 64, true);
  void* keep = pool.Take();
  void* object = pool.Take();
  SlabPool::Give(object);
  EXPECT_EQ(pool.Take(), object);
  SlabPool::Give(object);
  SlabPool::Give(keep);
}

TEST(Slab, EmptySlabsGoBackButForThoseToKeep) {
  SlabArena arena;
  SlabPool pool(&arena, SlabArena::kSlabBytes / 4, true);  // three to a slab
  std::vector<void*> objects;
  for (int i = 0; i < 15; ++i) objects.push_back(pool.Take());
  EXPECT_EQ(arena.empty_slabs(), 0u);
  for (void* object : objects) SlabPool::Give(object);
  EXPECT_EQ(arena.empty_slabs(), 5u);
  arena.GiveBack(2, 1);
  EXPECT_EQ(arena.empty_slabs(), 3u) << "a few at a time";
  arena.GiveBack(100, 1);
  EXPECT_EQ(arena.empty_slabs(), 1u) << "one is kept";
  arena.GiveBack(100, 1);
  EXPECT_EQ(arena.empty_slabs(), 1u);
}

TEST(Slab, AnEmptySlabServesAnotherSize) {
  SlabArena arena;
  SlabPool small(&arena, 32, true);
  SlabPool large(&arena, 4096, true);
  SlabPool::Give(small.Take());
  ASSERT_EQ(arena.empty_slabs(), 1u);
  auto* object = static_cast<char*>(large.Take());
  EXPECT_EQ(arena.empty_slabs(), 0u);
  memset(object, 1, 4096);
  SlabPool::Give(object);
}

TEST(Slab, AnObjectMayFillAWholeSlab) {
  SlabArena arena;
  SlabPool pool(&arena, SlabArena::kSlabBytes - sizeof(SlabArena::Slab), true);
  auto* a = static_cast<char*>(pool.Take());
  auto* b = static_cast<char*>(pool.Take());
  memset(a, 1, pool.object_bytes());
  memset(b, 2, pool.object_bytes());
  EXPECT_EQ(a[pool.object_bytes() - 1], 1);
  SlabPool::Give(a);
  SlabPool::Give(b);
  EXPECT_EQ(arena.empty_slabs(), 2u);
}

TEST(Slab, ObjectPoolConstructsAndDestroys) {
  static int alive = 0;
  struct Counted {
    explicit Counted(int v) : value(v) { ++alive; }
    ~Counted() { --alive; }
    int value;
  };
  SlabArena arena;
  ObjectPool<Counted> pool(&arena);
  Counted* object = pool.New(7);
  EXPECT_EQ(object->value, 7);
  EXPECT_EQ(alive, 1);
  EXPECT_EQ(pool.used(), 1);
  ObjectPool<Counted>::Delete(object);
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(pool.used(), 0);
}

// Two pools, any order of takes and gives: no object is handed out twice, none
// changes while it is out, and in the end every slab is empty.
TEST(Slab, AnyOrderOfTakesAndGivesKeepsObjectsApart) {
  std::mt19937 random(20240607);
  SlabArena arena;
  SlabPool pools[] = {SlabPool(&arena, 48, true), SlabPool(&arena, 200'000, true)};
  struct Out {
    char* object;
    size_t bytes;
    char mark;
  };
  std::vector<Out> out;
  std::set<void*> distinct;
  for (int step = 0; step < 100'000; ++step) {
    const bool grow = (step / 5'000) % 2 == 0;
    if (out.empty() || random() % 100 < (grow ? 60u : 40u)) {
      SlabPool& pool = pools[random() % 20 == 0 ? 1 : 0];
      auto* object = static_cast<char*>(pool.Take());
      ASSERT_TRUE(distinct.insert(object).second);
      const auto mark = static_cast<char>(random());
      memset(object, mark, 48);
      object[pool.object_bytes() - 1] = mark;
      out.push_back({object, pool.object_bytes(), mark});
    } else {
      const size_t i = random() % out.size();
      const Out taken = out[i];
      out[i] = out.back();
      out.pop_back();
      ASSERT_EQ(std::string(taken.object, 48), std::string(48, taken.mark));
      ASSERT_EQ(taken.object[taken.bytes - 1], taken.mark);
      distinct.erase(taken.object);
      SlabPool::Give(taken.object);
    }
    if (step % 10'000 == 0) arena.GiveBack(4, 1);
  }
  for (const Out& o : out) SlabPool::Give(o.object);
  EXPECT_EQ(arena.bytes_in_use(), 0);
  arena.GiveBack(~size_t{0}, 0);
  EXPECT_EQ(arena.empty_slabs(), 0u);
}

}  // namespace
}  // namespace cashew::net
