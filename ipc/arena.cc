#include "ipc/arena.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <utility>

#include "ipc/error.h"

namespace tpb::ipc {
namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

// How many pieces of a request's own class are looked at before a larger class is taken: enough to find the
// block that the same request used last time, few enough to stay O(1).
constexpr int kOwnClassLooks = 8;

std::uint64_t RoundUp(std::uint64_t size) noexcept {
  return std::max(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

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

std::shared_ptr<Arena> Arena::Create(std::shared_ptr<Region> region, Extent extent) {
  return std::shared_ptr<Arena>(new Arena(std::move(region), extent));
}

Arena::Arena(std::shared_ptr<Region> region, Extent extent)
    : region_(std::move(region)), data_(region_->data() + extent.offset), size_(extent.size) {
  heads_.fill(kNone);
  PushFree(pieces_.emplace(0, Piece{.size = size_}).first);
}

Block Arena::Allocate(std::uint64_t size) {
  const std::uint64_t rounded = size > size_ ? kNone : RoundUp(size);
  const std::scoped_lock lock(mutex_);
  const auto piece = rounded == kNone ? pieces_.end() : FindFree(rounded);
  if (piece == pieces_.end()) {
    throw Error(Code::kInternal, "Failed to increase the shared memory pool size to " +
                                     std::to_string(in_use_ + size) + " bytes: the limit is " +
                                     std::to_string(size_) + " bytes, of which " + std::to_string(in_use_) +
                                     " are in use");
  }
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
