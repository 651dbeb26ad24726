#include "ipc/arena.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <utility>

namespace tpb::ipc {
namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

// How many pieces of a request's own class are looked at before a larger class is taken: enough to find the
// block that the same request used last time, few enough to stay O(1).
constexpr int kOwnClassLooks = 8;

// How much is given back at a time, with the mutex held: about a millisecond.
constexpr std::uint64_t kGiveBackStep = std::uint64_t{8} << 20;

std::uint64_t RoundUp(std::uint64_t size) noexcept {
  return std::max(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

ArenaFull::ArenaFull(std::uint64_t use, std::uint64_t limit, std::uint64_t in_use)
    : Error(Code::kInternal,
            "Failed to increase the shared memory pool size to " + std::to_string(use) +
                " bytes: the limit is " + std::to_string(limit) + " bytes, of which " +
                std::to_string(in_use) +
                " are in use. Raise --backend-config=python,shm-max-byte-size, of which inputs and outputs "
                "have one half each, or send less at once") {}

ArenaFull::ArenaFull(std::uint64_t use, const Budget& budget)
    : Error(Code::kInternal,
            "Failed to increase the shared memory pool size to " + std::to_string(use) +
                " bytes: all model instances together may take " + std::to_string(budget.limit()) +
                " bytes, of which " + std::to_string(budget.taken()) +
                " are taken. Raise --backend-config=python,shm-total-max-byte-size, or send less at once") {}

Block::Block(Block&& other) noexcept
    : arena_(std::move(other.arena_)), offset_(other.offset_), size_(other.size_) {}

Block& Block::operator=(Block&& other) noexcept {
  if (this != &other) {
    Reset();
    arena_ = std::move(other.arena_);
    offset_ = other.offset_;
    size_ = other.size_;
  }
  return *this;
}

std::byte* Block::data() const noexcept { return arena_->data() + offset_; }

void Block::Reset() noexcept {
  if (arena_) {
    arena_->Free(offset_);
    arena_.reset();
  }
}

std::shared_ptr<Arena> Arena::Create(std::shared_ptr<Region> region, Extent extent, Options options) {
  return std::shared_ptr<Arena>(new Arena(std::move(region), extent, std::move(options)));
}

Arena::Arena(std::shared_ptr<Region> region, Extent extent, Options options)
    : region_(std::move(region)),
      start_(extent.offset),
      data_(region_->data() + extent.offset),
      size_(extent.size),
      page_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))),
      pool_start_(std::min(options.rules.pool_bytes, size_)),
      pool_step_(std::max(options.rules.growth_bytes, std::uint64_t{1})),
      line_(options.line),
      budget_(std::move(options.budget)),
      pool_(pool_start_) {
  heads_.fill(kNone);
  PushFree(pieces_.emplace(0, Piece{.size = size_}).first);
  if (budget_) {
    budget_->Charge(pool_);
  }
  Publish();
}

Arena::~Arena() {
  if (budget_) {
    budget_->Return(pool_);
  }
}

Block Arena::Allocate(std::uint64_t size) {
  const std::uint64_t rounded = size > size_ ? kNone : RoundUp(size);
  const std::scoped_lock lock(mutex_);
  const auto piece = rounded == kNone ? pieces_.end() : FindFree(rounded);
  if (piece == pieces_.end()) {
    throw ArenaFull(in_use_ + size, size_, in_use_);
  }
  GrowPool(in_use_ + rounded);
  const std::uint64_t rest = piece->second.size - rounded;
  if (rest != 0) {
    const auto remainder =
        pieces_.emplace_hint(std::next(piece), piece->first + rounded, Piece{.size = rest});
    RemoveFree(piece);
    piece->second.size = rounded;
    PushFree(remainder);
  } else {
    RemoveFree(piece);
  }
  in_use_ += rounded;
  touched_ = std::max(touched_, piece->first + rounded);
  NoteChange(piece->first + rounded);
  return {shared_from_this(), piece->first, size};
}

std::uint64_t Arena::BytesInUse() const {
  const std::scoped_lock lock(mutex_);
  return in_use_;
}

void Arena::Free(std::uint64_t offset) noexcept {
  const std::scoped_lock lock(mutex_);
  auto piece = pieces_.find(offset);
  in_use_ -= piece->second.size;
  NoteChange(offset + piece->second.size);
  if (const auto next = std::next(piece); next != pieces_.end() && next->second.free) {
    RemoveFree(next);
    piece->second.size += next->second.size;
    pieces_.erase(next);
  }
  if (piece != pieces_.begin() && std::prev(piece)->second.free) {
    const auto previous = std::prev(piece);
    RemoveFree(previous);
    previous->second.size += piece->second.size;
    pieces_.erase(piece);
    piece = previous;
  }
  PushFree(piece);
}

Arena::Usage Arena::usage() const {
  const std::scoped_lock lock(mutex_);
  return {.used = in_use_, .pool = pool_, .changes = changes_};
}

// A block that ends at `end` was handed out or taken back.
void Arena::NoteChange(std::uint64_t end) noexcept {
  ++changes_;
  to_give_back_ |= end > pool_start_;
  Publish();
}

void Arena::Publish() noexcept {
  if (line_ != nullptr) {
    line_->used.store(in_use_, std::memory_order_relaxed);
    line_->pool.store(pool_, std::memory_order_relaxed);
  }
}

std::uint64_t Arena::PoolFor(std::uint64_t use) const noexcept {
  if (use <= pool_start_) {
    return pool_start_;
  }
  const std::uint64_t steps = (use - pool_start_ - 1) / pool_step_ + 1;
  std::uint64_t pool = 0;
  if (__builtin_mul_overflow(steps, pool_step_, &pool) || __builtin_add_overflow(pool, pool_start_, &pool)) {
    return size_;
  }
  return std::min(pool, size_);
}

void Arena::GrowPool(std::uint64_t use) {
  const std::uint64_t pool = PoolFor(use);
  if (pool <= pool_) {
    return;
  }
  if (budget_ && !budget_->Take(pool - pool_)) {
    throw ArenaFull(use, *budget_);
  }
  pool_ = pool;
}

void Arena::ShrinkPool() noexcept {
  const std::uint64_t pool = PoolFor(in_use_);
  if (budget_) {
    budget_->Return(pool_ - pool);
  }
  pool_ = pool;
}

bool Arena::HasToGiveBack() const {
  const std::scoped_lock lock(mutex_);
  return to_give_back_ && can_give_back_;
}

std::optional<int> Arena::GiveBack() {
  {
    const std::scoped_lock lock(mutex_);
    if (!to_give_back_ || !can_give_back_) {
      return std::nullopt;
    }
    to_give_back_ = false;
  }
  std::uint64_t from = pool_start_;
  while (true) {
    const std::scoped_lock lock(mutex_);
    if (to_give_back_) {
      return std::nullopt;
    }
    const auto pages = NextFreePages(from);
    if (!pages) {
      touched_ = pieces_.rbegin()->second.free ? pieces_.rbegin()->first : size_;
      ShrinkPool();
      Publish();
      return std::nullopt;
    }
    if (const int error = region_->PunchHole(start_ + pages->offset, pages->size); error != 0) {
      can_give_back_ = false;
      return error;
    }
    from = pages->offset + pages->size;
  }
}

// The first pages from `from` on that no block shares and that may have memory; not too many at a time.
std::optional<Extent> Arena::NextFreePages(std::uint64_t from) const noexcept {
  const std::uint64_t touched = PageUp(touched_);
  for (auto piece = std::prev(pieces_.upper_bound(from)); piece != pieces_.end() && piece->first < touched;
       ++piece) {
    const std::uint64_t begin = PageUp(std::max(piece->first, from));
    const std::uint64_t end = PageDown(std::min(piece->first + piece->second.size, touched));
    if (piece->second.free && begin < end) {
      return Extent{.offset = begin, .size = std::min(end - begin, kGiveBackStep)};
    }
  }
  return std::nullopt;
}

// To the next multiple of a page, as the region counts.
std::uint64_t Arena::PageUp(std::uint64_t offset) const noexcept {
  return (start_ + offset + page_ - 1) / page_ * page_ - start_;
}

std::uint64_t Arena::PageDown(std::uint64_t offset) const noexcept {
  const std::uint64_t page = (start_ + offset) / page_ * page_;
  return page < start_ ? 0 : page - start_;
}

void Arena::PushFree(Pieces::iterator piece) noexcept {
  const std::size_t index = ClassOf(piece->second.size);
  piece->second.free = true;
  piece->second.previous_free = kNone;
  piece->second.next_free = heads_[index];
  if (heads_[index] != kNone) {
    pieces_.find(heads_[index])->second.previous_free = piece->first;
  }
  heads_[index] = piece->first;
  occupied_[index / 64] |= std::uint64_t{1} << (index % 64);
}

void Arena::RemoveFree(Pieces::iterator piece) noexcept {
  const std::size_t index = ClassOf(piece->second.size);
  Piece& removed = piece->second;
  if (removed.previous_free != kNone) {
    pieces_.find(removed.previous_free)->second.next_free = removed.next_free;
  } else {
    heads_[index] = removed.next_free;
  }
  if (removed.next_free != kNone) {
    pieces_.find(removed.next_free)->second.previous_free = removed.previous_free;
  }
  if (heads_[index] == kNone) {
    occupied_[index / 64] &= ~(std::uint64_t{1} << (index % 64));
  }
  removed.free = false;
}

// First fit in the request's own class, for a few looks; then any piece of a larger class fits. The rest of
// the own class is looked at only when the arena would have to be called full otherwise.
Arena::Pieces::iterator Arena::FindFree(std::uint64_t size) noexcept {
  const std::size_t own = ClassOf(size);
  std::uint64_t offset = heads_[own];
  const auto look_on = [this, size, &offset](int looks) {
    for (; offset != kNone && looks > 0; --looks) {
      const auto piece = pieces_.find(offset);
      if (piece->second.size >= size) {
        return piece;
      }
      offset = piece->second.next_free;
    }
    return pieces_.end();
  };
  if (const auto piece = look_on(kOwnClassLooks); piece != pieces_.end()) {
    return piece;
  }
  for (std::size_t index = own + 1; index < kClasses; index = (index / 64 + 1) * 64) {
    const std::uint64_t word = occupied_[index / 64] & (~std::uint64_t{0} << (index % 64));
    if (word != 0) {
      return pieces_.find(heads_[index / 64 * 64 + static_cast<std::size_t>(std::countr_zero(word))]);
    }
  }
  return look_on(std::numeric_limits<int>::max());
}

// Four classes per doubling: the position of the highest bit, and the two bits below it.
std::size_t Arena::ClassOf(std::uint64_t size) noexcept {
  const auto top = static_cast<std::size_t>(std::bit_width(size) - 1);
  return top * 4 + static_cast<std::size_t>((size >> (top - 2)) & 3U);
}

}  // namespace tpb::ipc
