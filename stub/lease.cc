#include "stub/lease.h"

#include <cstdio>
#include <exception>
#include <string>
#include <utility>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

constexpr std::size_t kToldTogether = 64;
constexpr std::size_t kBytesToldTogether = std::size_t{256} << 10;
// A model may keep inputs in place up to this part of the server's arena.
constexpr std::uint64_t kKeptShare = 4;

}  // namespace

LeaseBook::LeaseBook(std::shared_ptr<ipc::StubChannel> channel)
    : channel_(std::move(channel)), kept_limit_(channel_->ServerArenaSize() / kKeptShare) {}

LeaseBook::~LeaseBook() {
  if (birthplace_.InForkedChild()) {
    // The channel would give blocks back, under a mutex that another thread may have held while
    // forking.
    Leak(channel_);
  }
}

void LeaseBook::Release(std::uint64_t lease, std::size_t size) noexcept {
  if (birthplace_.InForkedChild()) {
    return;
  }
  try {
    const std::scoped_lock lock(mutex_);
    ended_.push_back(lease);
    ended_bytes_ += size;
    if (idle_.load(std::memory_order_relaxed) || ended_.size() >= kToldTogether ||
        ended_bytes_ >= kBytesToldTogether) {
      FlushLocked();
    }
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Out of memory, or a ring that the server broke. The block stays with the server until the attachment
    // ends.
  }
}

void LeaseBook::Note(const ipc::Slot& event) noexcept {
  if (birthplace_.InForkedChild()) {
    return;
  }
  try {
    const std::scoped_lock lock(mutex_);
    notes_.push_back(event);
    FlushLocked();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // As above.
  }
}

void LeaseBook::Flush() noexcept {
  try {
    const std::scoped_lock lock(mutex_);
    FlushLocked();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // As above: whoever reads the rings next notices.
  }
}

void LeaseBook::SetIdle() noexcept {
  {
    // Under the mutex: a release is either seen here, or sees that nobody will come by.
    const std::scoped_lock lock(mutex_);
    idle_.store(true, std::memory_order_relaxed);
  }
  Flush();
}

void LeaseBook::FlushLocked() {
  std::vector<ipc::Block> no_blocks;
  while (!ended_.empty()) {
    ipc::Slot slot{};
    slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kRelease);
    slot.id = ended_.back();
    slot.sent_before = channel_->replies().pushed();
    if (!channel_->events().TryPush(slot, no_blocks)) {
      return;
    }
    ended_.pop_back();
  }
  ended_bytes_ = 0;
  std::size_t sent = 0;
  while (sent < notes_.size() && channel_->events().TryPush(notes_[sent], no_blocks)) {
    ++sent;
  }
  notes_.erase(notes_.begin(), notes_.begin() + static_cast<std::ptrdiff_t>(sent));
}

bool LeaseBook::Crowded(std::uint64_t but_for) noexcept {
  const std::uint64_t kept = kept_bytes_.load(std::memory_order_relaxed);
  if (kept <= kept_limit_ + but_for) {
    return false;
  }
  if (!std::exchange(complained_, true)) {
    std::fprintf(stderr,
                 "model instance '%s' keeps %llu bytes of input tensors beyond their requests, more than a "
                 "quarter of the shared memory for inputs: while it does, further inputs are copied. Keep "
                 "copies (array.copy()), or raise --backend-config=python,shm-max-byte-size.\n",
                 label_.c_str(), static_cast<unsigned long long>(kept));
  }
  return true;
}

Lease::Lease(std::shared_ptr<LeaseBook> book, const ipc::LeaseRecord& record)
    : book_(std::move(book)),
      id_(record.lease),
      bytes_(book_->channel().ServerBytes(record.offset, record.size)) {}

void Lease::Keep() noexcept {
  book_->CountKept(bytes_.size());
  kept_.store(true, std::memory_order_release);
}

Lease::~Lease() {
  if (kept_.load(std::memory_order_acquire)) {
    book_->CountReleased(bytes_.size());
    book_->Release(id_, bytes_.size());
  }
}

std::span<std::byte> Lease::Part(std::uint64_t offset, std::uint64_t size) const {
  if (offset > bytes_.size() || size > bytes_.size() - offset) {
    throw ipc::ProtocolError("a tensor of " + std::to_string(size) + " bytes at " + std::to_string(offset) +
                             " in a block of " + std::to_string(bytes_.size()) + " bytes");
  }
  return bytes_.subspan(offset, size);
}

}  // namespace tpb::stub
