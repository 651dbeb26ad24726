// Blocks of the server's arena that hold the inputs of a batch. The server takes them back when the batch is
// answered, unless the model kept a tensor or an array: then the stub says so in its reply, and again when
// the last one is gone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ipc/channel.h"
#include "ipc/wire.h"
#include "stub/fork.h"

namespace tpb::stub {

// Tells the server about ends of kept leases. Shared by the attachment and every lease, which may outlive it.
class LeaseBook {
 public:
  explicit LeaseBook(std::shared_ptr<ipc::StubChannel> channel);
  LeaseBook(const LeaseBook&) = delete;
  LeaseBook& operator=(const LeaseBook&) = delete;
  LeaseBook(LeaseBook&&) = delete;
  LeaseBook& operator=(LeaseBook&&) = delete;
  ~LeaseBook();

  // A block of `size` bytes is not needed any more. Any thread, with or without the GIL; never waits. Each
  // message wakes the server, so while the thread that serves is busy small blocks are told of together,
  // with the next message or when it has nothing to do. With a full ring the news wait for the next call.
  void Release(std::uint64_t lease, std::size_t size) noexcept;

  // An event without a body that may wait, like the news of a release. Never waits itself.
  void Note(const ipc::Slot& event) noexcept;

  // Tells of everything now.
  void Flush() noexcept;

  // The thread that serves is about to sleep, which tells of everything; or has work again.
  void SetIdle() noexcept;
  void SetBusy() noexcept { idle_.store(false, std::memory_order_relaxed); }

  [[nodiscard]] const ipc::StubChannel& channel() const noexcept { return *channel_; }

  // Of the model or instance, for messages.
  void SetLabel(std::string label) { label_ = std::move(label); }
  [[nodiscard]] const std::string& label() const noexcept { return label_; }

  // The model keeps so much, beside `but_for` bytes, that the server may run out of memory for inputs: what
  // comes from now on is better copied than looked at in place. Complains once. With the GIL held.
  [[nodiscard]] bool Crowded(std::uint64_t but_for) noexcept;

 private:
  friend class Lease;
  void CountKept(std::uint64_t bytes) noexcept { kept_bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void CountReleased(std::uint64_t bytes) noexcept {
    kept_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  void FlushLocked();

  const Birthplace birthplace_;
  std::shared_ptr<ipc::StubChannel> channel_;
  std::mutex mutex_;
  std::vector<std::uint64_t> ended_;  // not told yet
  std::size_t ended_bytes_ = 0;       // of those
  std::vector<ipc::Slot> notes_;      // not sent yet, oldest first
  std::atomic<bool> idle_{true};      // nobody will come by and tell
  const std::uint64_t kept_limit_;
  std::atomic<std::uint64_t> kept_bytes_{0};
  std::string label_;
  bool complained_ = false;
};

// One block. Shared by the batch, the tensors that were not read yet, and the arrays that are views of it.
class Lease {
 public:
  // Throws ProtocolError when the block lies outside the server's arena.
  Lease(std::shared_ptr<LeaseBook> book, const ipc::LeaseRecord& record);
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Lease(Lease&&) = delete;
  Lease& operator=(Lease&&) = delete;
  ~Lease();

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

  // A part of the block. Throws ProtocolError when it is none.
  [[nodiscard]] std::span<std::byte> Part(std::uint64_t offset, std::uint64_t size) const;

  [[nodiscard]] bool BelongsTo(const LeaseBook& book) const noexcept { return book_.get() == &book; }

  // It came with the batch that `book`'s attachment is working on: older ones that still live have been kept.
  [[nodiscard]] bool IsNewFrom(const LeaseBook& book) const noexcept {
    return BelongsTo(book) && !kept_.load(std::memory_order_relaxed);
  }

  // The server is being told that this lease outlives its batch. Once.
  void Keep() noexcept;

  // What the model keeps beside this is too much: see LeaseBook::Crowded.
  [[nodiscard]] bool Crowded() const noexcept {
    return book_->Crowded(kept_.load(std::memory_order_relaxed) ? bytes_.size() : 0);
  }

 private:
  const std::shared_ptr<LeaseBook> book_;
  const std::uint64_t id_;
  const std::span<std::byte> bytes_;
  std::atomic<bool> kept_{false};
};

}  // namespace tpb::stub
