#include "ipc/arena.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ipc/error.h"
#include "ipc/region.h"
#include "tests/cpp/check.h"

namespace tpb {
namespace {

using ipc::Arena;
using ipc::Block;

constexpr std::uint64_t kPage = 4096;

// An arena that is not at the start of its region, as none is.
std::shared_ptr<Arena> MakeArena(std::uint64_t size) {
  return Arena::Create(ipc::Region::Create("tpb-test-arena", size + kPage, size + kPage),
                       {.offset = kPage, .size = size});
}

TEST(Arena, BlocksAreAlignedAndInside) {
  const auto arena = MakeArena(64 * kPage);
  std::vector<Block> blocks;

  for (const std::uint64_t size : {0U, 1U, 63U, 64U, 65U, 127U, 4096U, 5000U}) {
    blocks.push_back(arena->Allocate(size));
    const Block& block = blocks.back();
    CHECK_EQ(block.size(), size);
    CHECK_EQ(block.offset() % ipc::kAlignment, 0U);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % ipc::kAlignment, 0U);
    CHECK(block.offset() + size <= arena->size());
    CHECK_EQ(block.data() - arena->data(), static_cast<std::ptrdiff_t>(block.offset()));
  }
}

TEST(Arena, BlocksDoNotShareBytes) {
  const auto arena = MakeArena(4 * kPage);
  std::vector<Block> blocks;
  for (int i = 0; i < 100; ++i) {
    blocks.push_back(arena->Allocate(100));
    std::memset(blocks.back().data(), i, 100);
  }

  for (int i = 0; i < 100; ++i) {
    const std::byte* data = blocks[static_cast<std::size_t>(i)].data();
    CHECK(std::all_of(data, data + 100, [i](std::byte byte) { return byte == static_cast<std::byte>(i); }));
  }
}

TEST(Arena, HandsOutTheSameWarmBlockAgain) {
  const auto arena = MakeArena(1024 * kPage);
  const Block other = arena->Allocate(3 * kPage);
  std::uint64_t first = 0;

  for (int round = 0; round < 100; ++round) {
    const Block block = arena->Allocate(100000);
    if (round == 0) {
      first = block.offset();
    }
    CHECK_EQ(block.offset(), first);
  }
}

TEST(Arena, AnotherSizeDoesNotTakeTheWarmBlockOfABiggerOne) {
  const auto arena = MakeArena(1024 * kPage);
  Block big = arena->Allocate(100000);
  const Block wall = arena->Allocate(64);
  Block small = arena->Allocate(2000);
  const Block second_wall = arena->Allocate(64);
  const std::uint64_t big_at = big.offset();
  const std::uint64_t small_at = small.offset();
  small.Reset();
  big.Reset();

  small = arena->Allocate(2000);
  big = arena->Allocate(100000);

  CHECK_EQ(small.offset(), small_at);
  CHECK_EQ(big.offset(), big_at);
}

TEST(Arena, FreedNeighboursBecomeOnePiece) {
  const auto arena = MakeArena(256 * kPage);
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    std::vector<Block> blocks;
    std::uint64_t left = arena->size();
    while (left > 0) {
      const std::uint64_t size = std::min<std::uint64_t>(left, 64U * (1 + random() % 100));
      blocks.push_back(arena->Allocate(size));
      left -= size;
    }
    CHECK_EQ(arena->BytesInUse(), arena->size());
    std::shuffle(blocks.begin(), blocks.end(), random);
    blocks.clear();

    CHECK_EQ(arena->BytesInUse(), 0U);
    CHECK_EQ(arena->Allocate(arena->size()).offset(), 0U);
  }
}

TEST(Arena, SaysThatItIsFullAndRecovers) {
  const auto arena = MakeArena(4 * kPage);
  Block most = arena->Allocate(3 * kPage);

  CHECK_EQ(CHECK_THROWS(ipc::Error, arena->Allocate(2 * kPage)),
           "Failed to increase the shared memory pool size to 20480 bytes: the limit is 16384 bytes, of "
           "which 12288 are "
           "in use");
  CHECK_EQ(arena->BytesInUse(), 3 * kPage);
  const Block rest = arena->Allocate(kPage);
  most.Reset();
  CHECK(arena->Allocate(3 * kPage).valid());
}

TEST(Arena, RefusesSizesBeyondAnyArena) {
  const auto arena = MakeArena(4 * kPage);

  for (const std::uint64_t size :
       {4 * kPage + 1, std::uint64_t{1} << 40, ~std::uint64_t{0} - 62, ~std::uint64_t{0}}) {
    CHECK_THROWS(ipc::Error, arena->Allocate(size));
  }
  CHECK_EQ(arena->BytesInUse(), 0U);
}

// Pieces of nearly the same size share a list. The one that fits may be deep in it.
TEST(Arena, FindsTheOnlyPieceThatFits) {
  const auto arena = MakeArena(16 * kPage);
  std::vector<Block> walls;
  Block fitting = arena->Allocate(1216);
  walls.push_back(arena->Allocate(64));
  std::vector<Block> smaller;
  for (int i = 0; i < 20; ++i) {
    smaller.push_back(arena->Allocate(1024));
    walls.push_back(arena->Allocate(64));
  }
  walls.push_back(arena->Allocate(arena->size() - arena->BytesInUse()));
  fitting.Reset();
  smaller.clear();

  CHECK_EQ(arena->Allocate(1216).offset(), 0U);
}

TEST(Arena, AMovedBlockIsFreedOnce) {
  const auto arena = MakeArena(4 * kPage);
  Block first = arena->Allocate(64);
  Block second = arena->Allocate(128);

  second = std::move(first);

  CHECK_EQ(arena->BytesInUse(), 64U);
  CHECK(second.valid());
  const Block third(std::move(second));
  CHECK_EQ(arena->BytesInUse(), 64U);
  CHECK_EQ(third.size(), 64U);
}

TEST(Arena, ABlockKeepsItsMemoryAlive) {
  Block block;
  {
    const auto arena = MakeArena(4 * kPage);
    block = arena->Allocate(kPage);
  }

  std::memset(block.data(), 1, kPage);

  CHECK_EQ(block.data()[kPage - 1], std::byte{1});
}

TEST(Arena, ThreadsShareIt) {
  const auto arena = MakeArena(1024 * kPage);
  const auto work = [&arena](unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::pair<Block, std::byte>> held;
    for (int step = 0; step < 5000; ++step) {
      if (held.size() < 20 && random() % 2 == 0) {
        const auto mark = static_cast<std::byte>(random());
        held.emplace_back(arena->Allocate(1 + random() % 2000), mark);
        std::memset(held.back().first.data(), static_cast<int>(mark), held.back().first.size());
      } else if (!held.empty()) {
        const auto victim = held.begin() + static_cast<std::ptrdiff_t>(random() % held.size());
        const std::byte* data = victim->first.data();
        CHECK(std::all_of(data, data + victim->first.size(),
                          [&](std::byte byte) { return byte == victim->second; }));
        held.erase(victim);
      }
    }
  };

  std::vector<std::future<void>> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.push_back(std::async(std::launch::async, work, seed));
  }
  for (auto& thread : threads) {
    thread.get();
  }

  CHECK_EQ(arena->BytesInUse(), 0U);
  CHECK(arena->Allocate(arena->size()).valid());
}

}  // namespace
}  // namespace tpb
