// An arena: the part of a region from which one process allocates. The bookkeeping lives in that process's
// private memory, so nothing that the peer writes can confuse it, and a peer that dies can hold no lock of
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "ipc/budget.h"
#include "ipc/error.h"
#include "ipc/region.h"
#include "ipc/wire.h"

namespace tpb::ipc {

class Arena;

// What is asked for does not fit into what an arena has left.
class ArenaFull : public Error {
 public:
  // `use`: what the arena would have to hold.
  ArenaFull(std::uint64_t use, std::uint64_t limit, std::uint64_t in_use);
  ArenaFull(std::uint64_t use, const Budget& budget);
};

// Owns one piece of an arena and gives it back when it ends. Keeps the arena, and so the mapping, alive.
class Block {
 public:
  Block() = default;
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { Reset(); }

  [[nodiscard]] bool valid() const noexcept { return arena_ != nullptr; }
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }  // from the start of the arena
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }      // as asked for
  [[nodiscard]] std::byte* data() const noexcept;

  void Reset() noexcept;

 private:
  friend class Arena;
  Block(std::shared_ptr<Arena> arena, std::uint64_t offset, std::uint64_t size) noexcept
      : arena_(std::move(arena)), offset_(offset), size_(size) {}

  std::shared_ptr<Arena> arena_;
  std::uint64_t offset_ = 0;
  std::uint64_t size_ = 0;
};

// Good-fit allocator with segregated free lists (four classes per doubling) and immediate coalescing. Freed
// neighbours merge, and the smallest class that fits is used first, so warm pages are handed out again before
// the never-touched end of the arena. Every thread may call it; the mutex is private to the process.
class Arena : public std::enable_shared_from_this<Arena> {
 public:
  struct Options {
    MemoryRules rules = kDefaultMemoryRules;
    MemoryLine* line = nullptr;  // in the region, kept up to date with the usage; or null
    std::shared_ptr<Budget> budget =
        nullptr;  // shared with other arenas; what the pool grows by is taken from it
  };
  static std::shared_ptr<Arena> Create(std::shared_ptr<Region> region, Extent extent, Options options);
  static std::shared_ptr<Arena> Create(std::shared_ptr<Region> region, Extent extent) {
    return Create(std::move(region), extent, Options());
  }

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  Arena(Arena&&) = delete;
  Arena& operator=(Arena&&) = delete;
  ~Arena();

  // A block of at least `size` bytes that starts at a multiple of kAlignment. Throws ArenaFull.
  Block Allocate(std::uint64_t size);

  // The pool is what counts as taken from the machine: it grows in steps with the blocks in use, and falls
  // when memory is given back.
  struct Usage {
    std::uint64_t used = 0;
    std::uint64_t pool = 0;
    std::uint64_t changes = 0;  // blocks ever handed out or taken back
  };
  [[nodiscard]] Usage usage() const;

  // There may be free memory beyond what a pool keeps. Becomes true by any use of the arena beyond that,
  // false by GiveBack().
  [[nodiscard]] bool HasToGiveBack() const;

  // Gives the pages of free blocks back to the kernel, but for those that the pool starts with; whoever uses
  // them next gets zeros, and pays for fresh pages. Stops as soon as somebody else uses the arena. Returns
  // the errno of a kernel that cannot do this; it is then not asked again.
  std::optional<int> GiveBack();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t BytesInUse() const;

  // The memory that the whole region takes at the moment, as the kernel counts.
  [[nodiscard]] std::uint64_t ResidentBytes() const noexcept { return region_->ResidentBytes(); }

 private:
  friend class Block;
  static constexpr std::size_t kClasses = 256;

  struct Piece {
    std::uint64_t size = 0;
    bool free = false;
    std::uint64_t next_free = 0;      // neighbours in the list of its class, when free
    std::uint64_t previous_free = 0;  // kNone at either end
  };
  using Pieces = std::map<std::uint64_t, Piece>;

  Arena(std::shared_ptr<Region> region, Extent extent, Options options);

  void Free(std::uint64_t offset) noexcept;
  void PushFree(Pieces::iterator piece) noexcept;
  void RemoveFree(Pieces::iterator piece) noexcept;
  Pieces::iterator FindFree(std::uint64_t size) noexcept;
  static std::size_t ClassOf(std::uint64_t size) noexcept;

  void GrowPool(std::uint64_t use);
  void ShrinkPool() noexcept;
  void NoteChange(std::uint64_t end) noexcept;
  void Publish() noexcept;
  [[nodiscard]] std::uint64_t PoolFor(std::uint64_t use) const noexcept;
  [[nodiscard]] std::uint64_t PageUp(std::uint64_t offset) const noexcept;
  [[nodiscard]] std::uint64_t PageDown(std::uint64_t offset) const noexcept;
  [[nodiscard]] std::optional<Extent> NextFreePages(std::uint64_t from) const noexcept;

  const std::shared_ptr<Region> region_;
  const std::uint64_t start_;  // in the region
  std::byte* const data_;
  const std::uint64_t size_;
  const std::uint64_t page_;
  const std::uint64_t pool_start_;
  const std::uint64_t pool_step_;
  MemoryLine* const line_;
  const std::shared_ptr<Budget> budget_;

  mutable std::mutex mutex_;
  Pieces pieces_;                                // every piece, by offset: free and used ones tile the arena
  std::array<std::uint64_t, kClasses> heads_{};  // first free piece of each class
  std::array<std::uint64_t, kClasses / 64> occupied_{};
  std::uint64_t in_use_ = 0;
  std::uint64_t pool_;
  std::uint64_t changes_ = 0;
  std::uint64_t touched_ = 0;  // no page from here on has memory
  bool to_give_back_ = false;  // something beyond what the pool keeps was used since GiveBack() began
  bool can_give_back_ = true;
};

}  // namespace tpb::ipc
