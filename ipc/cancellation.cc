#include "ipc/cancellation.h"

#include <chrono>

#include "ipc/futex.h"

namespace tpb::ipc {
namespace {

constexpr std::chrono::seconds kLookAgain{1};

// The low bits of the id and what is said of it, in one word: a reader never takes what is said of another
// request for its own.
constexpr std::uint32_t kNotCancelled = 1;
constexpr std::uint32_t kCancelled = 2;

std::uint32_t Word(std::uint64_t id, std::uint32_t said) noexcept {
  return (static_cast<std::uint32_t>(id) << 2U) | said;
}

}  // namespace

void TellCancellation(CancellationWord& word, std::uint64_t id, bool cancelled) noexcept {
  word.store(Word(id, cancelled ? kCancelled : kNotCancelled), std::memory_order_release);
  FutexWakeAll(word);
}

CancellationWords::CancellationWords(std::span<CancellationWord> words) : words_(words) {
  for (auto index = static_cast<std::uint32_t>(words.size()); index > 0; --index) {
    free_.push_back(index - 1);
  }
}

std::optional<std::uint32_t> CancellationWords::Take() {
  const std::scoped_lock lock(mutex_);
  if (free_.empty()) {
    return std::nullopt;
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  return index;
}

void CancellationWords::GiveBack(std::uint32_t word) {
  const std::scoped_lock lock(mutex_);
  free_.push_back(word);
}

std::optional<bool> CancellationWords::Read(std::uint32_t word, std::uint64_t id) const noexcept {
  const std::uint32_t said = words_[word].load(std::memory_order_acquire);
  if (said == Word(id, kCancelled)) {
    return true;
  }
  return said == Word(id, kNotCancelled) ? std::optional<bool>(false) : std::nullopt;
}

bool CancellationWords::Await(std::uint32_t index, std::uint64_t id, const std::function<bool()>& gone) {
  const CancellationWord& word = words_[index];
  while (true) {
    const std::uint32_t seen = word.load(std::memory_order_acquire);
    if (const auto said = Read(index, id)) {
      return *said;
    }
    if (gone()) {
      return false;
    }
    FutexWait(word, seen, kLookAgain);
  }
}

}  // namespace tpb::ipc
