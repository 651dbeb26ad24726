#include "ipc/arena.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
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
#include "ipc/unique_fd.h"
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
           "which 12288 are in use. Raise --backend-config=python,shm-max-byte-size, of which inputs and "
           "outputs have one half each, or send less at once");
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

// A pool that starts with four pages and grows by two.
constexpr ipc::MemoryRules kRules{
    .pool_bytes = 4 * kPage, .growth_bytes = 2 * kPage, .release_after_seconds = 0, .keep_heap = 0};

struct Watched {
  std::shared_ptr<ipc::Region> region;
  std::shared_ptr<Arena> arena;

  Block Filled(std::uint64_t size, std::byte with) const {
    Block block = arena->Allocate(size);
    std::memset(block.data(), static_cast<int>(with), size);
    return block;
  }
};

Watched MakeWatched(std::uint64_t size, std::shared_ptr<ipc::Budget> budget = nullptr) {
  auto region = ipc::Region::Create("tpb-test-arena", size + kPage, size + kPage);
  return {.region = region,
          .arena = Arena::Create(region, {.offset = kPage, .size = size},
                                 {.rules = kRules, .line = nullptr, .budget = std::move(budget)})};
}

bool IsFilled(const Block& block, std::byte with) {
  return std::all_of(block.data(), block.data() + block.size(), [&](std::byte byte) { return byte == with; });
}

TEST(Arena, GivesBackThePagesOfFreeBlocksAndNoOthers) {
  const Watched watched = MakeWatched(1024 * kPage);
  Block first = watched.Filled(100 * kPage, std::byte{1});
  const Block used = watched.Filled(100, std::byte{2});
  Block second = watched.Filled(100 * kPage, std::byte{3});
  const Block last = watched.Filled(100, std::byte{4});
  first.Reset();
  second.Reset();
  CHECK(watched.region->ResidentBytes() >= 200 * kPage);

  CHECK(watched.arena->HasToGiveBack());
  CHECK(!watched.arena->GiveBack());

  // The pool's first four, and one for each block that is used.
  CHECK_EQ(watched.region->ResidentBytes(), 6 * kPage);
  CHECK(!watched.arena->HasToGiveBack());
  CHECK(IsFilled(used, std::byte{2}));
  CHECK(IsFilled(last, std::byte{4}));
  const Block next = watched.Filled(100 * kPage, std::byte{5});
  CHECK(IsFilled(next, std::byte{5}));
  CHECK(IsFilled(used, std::byte{2}));
}

TEST(Arena, GivesBackWhatIsFreedLater) {
  const Watched watched = MakeWatched(1024 * kPage);
  Block kept = watched.Filled(50 * kPage, std::byte{1});
  CHECK(!watched.arena->GiveBack());
  CHECK_EQ(watched.region->ResidentBytes(), 50 * kPage);
  CHECK(!watched.arena->HasToGiveBack());

  kept.Reset();

  CHECK(watched.arena->HasToGiveBack());
  CHECK(!watched.arena->GiveBack());
  CHECK_EQ(watched.region->ResidentBytes(), 4 * kPage);
}

TEST(Arena, HasNothingToGiveBackWhileItStaysWithinThePool) {
  const Watched watched = MakeWatched(1024 * kPage);

  for (int round = 0; round < 100; ++round) {
    const Block block = watched.Filled(4 * kPage, std::byte{1});
    CHECK(!watched.arena->HasToGiveBack());
  }

  CHECK_EQ(watched.arena->usage().pool, 4 * kPage);
}

TEST(Arena, ThePoolGrowsInStepsAndFallsWhenMemoryIsGivenBack) {
  const auto [region, arena] = MakeWatched(16 * kPage);
  CHECK_EQ(arena->usage().pool, 4 * kPage);

  Block small = arena->Allocate(100);
  Block large = arena->Allocate(4 * kPage);
  CHECK_EQ(arena->usage().pool, 6 * kPage);
  CHECK_EQ(arena->usage().used, 4 * kPage + 128);
  Block larger = arena->Allocate(9 * kPage);
  CHECK_EQ(arena->usage().pool, 14 * kPage);
  Block rest = arena->Allocate(2 * kPage);
  CHECK_EQ(arena->usage().pool, 16 * kPage);
  larger.Reset();
  CHECK_EQ(arena->usage().pool, 16 * kPage);

  CHECK(!arena->GiveBack());

  CHECK_EQ(arena->usage().pool, 8 * kPage);
}

TEST(Arena, SharesABudgetWithOthers) {
  const auto budget = std::make_shared<ipc::Budget>(20 * kPage);
  const Watched one = MakeWatched(64 * kPage, budget);
  const Watched other = MakeWatched(64 * kPage, budget);
  Block most = one.Filled(12 * kPage, std::byte{1});
  CHECK_EQ(budget->taken(), 16 * kPage);
  Block rest = other.Filled(8 * kPage, std::byte{2});
  CHECK_EQ(budget->taken(), 20 * kPage);

  CHECK_EQ(CHECK_THROWS(ipc::ArenaFull, other.arena->Allocate(100)),
           "Failed to increase the shared memory pool size to 32896 bytes: all model instances together may "
           "take 81920 bytes, of which 81920 are taken. Raise "
           "--backend-config=python,shm-total-max-byte-size, or send less at once");

  CHECK(IsFilled(rest, std::byte{2}));
  most.Reset();
  CHECK_THROWS(ipc::ArenaFull, other.arena->Allocate(100));  // not given back yet
  CHECK(!one.arena->GiveBack());
  CHECK_EQ(budget->taken(), 12 * kPage);
  CHECK(other.arena->Allocate(100).valid());
}

TEST(Arena, ReturnsItsShareOfABudgetWhenItEnds) {
  const auto budget = std::make_shared<ipc::Budget>(0);
  {
    const Watched watched = MakeWatched(64 * kPage, budget);
    const Block block = watched.Filled(30 * kPage, std::byte{1});
    CHECK_EQ(budget->taken(), 30 * kPage);
  }

  CHECK_EQ(budget->taken(), 0U);
}

TEST(Arena, AKernelThatTakesNothingBackIsAskedOnce) {
  const Watched watched = MakeWatched(64 * kPage);
  watched.Filled(32 * kPage, std::byte{1}).Reset();
  const ipc::UniqueFd other(::eventfd(0, EFD_CLOEXEC));
  CHECK(::dup3(other.get(), watched.region->fd(), O_CLOEXEC) >= 0);  // nothing that could have holes

  CHECK(watched.arena->GiveBack().has_value());

  CHECK(!watched.arena->HasToGiveBack());
  watched.Filled(32 * kPage, std::byte{1}).Reset();
  CHECK(!watched.arena->HasToGiveBack());
  CHECK(!watched.arena->GiveBack().has_value());
}

TEST(Arena, WritesDownWhatItTakesForOthersToRead) {
  ipc::MemoryLine line{};
  const auto region = ipc::Region::Create("tpb-test-arena", 65 * kPage, 65 * kPage);
  const auto arena = Arena::Create(region, {.offset = kPage, .size = 64 * kPage},
                                   {.rules = kRules, .line = &line, .budget = nullptr});
  CHECK_EQ(line.pool.load(), 4 * kPage);
  Block block = arena->Allocate(5 * kPage);
  CHECK_EQ(line.used.load(), 5 * kPage);
  CHECK_EQ(line.pool.load(), 6 * kPage);

  block.Reset();
  CHECK(!arena->GiveBack());

  CHECK_EQ(line.used.load(), 0U);
  CHECK_EQ(line.pool.load(), 4 * kPage);
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

TEST(Arena, ThreadsShareItWhileMemoryIsGivenBack) {
  const auto arena = MakeWatched(1024 * kPage).arena;
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
  const auto working = [&threads] {
    return std::ranges::any_of(threads, [](const auto& thread) {
      return thread.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
    });
  };
  while (working()) {
    CHECK(!arena->GiveBack());
  }
  for (auto& thread : threads) {
    thread.get();
  }

  CHECK_EQ(arena->BytesInUse(), 0U);
  CHECK(arena->Allocate(arena->size()).valid());
}

}  // namespace
}  // namespace tpb
