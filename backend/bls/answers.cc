#include "backend/bls/answers.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "backend/conversation.h"
#include "ipc/codec.h"
#include "ipc/messages.h"

namespace tpb::backend::bls {
namespace {

constexpr std::size_t kMostWaiting = 65536;
constexpr std::size_t kMostBytesWaiting = std::size_t{64} << 20;  // beside the outputs
constexpr std::size_t kAtOnce = 64;                               // in one answer, as long as they are small
constexpr std::size_t kBytesAtOnce = std::size_t{64} << 10;

}  // namespace

bool Answers::Add(Taken taken) noexcept {
  any_ = true;
  const bool room = waiting_.size() < kMostWaiting && taken.body.size() <= kMostBytesWaiting - waiting_bytes_;
  if (no_room_ == 0 && (adding_ == kLastOne || (adding_ == kOpen && room))) {
    try {
      const std::size_t size = taken.body.size();
      waiting_.push_back(std::move(taken));
      waiting_bytes_ += size;
      adding_ = adding_ == kLastOne ? kClosed : adding_;
      return true;
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // Out of memory: as if there were too many.
    }
  }
  conversation_.leases().Drop(taken.leases);
  return adding_ != kOpen;
}

bool Answers::Close() noexcept {
  if (adding_ != kOpen) {
    return false;
  }
  adding_ = kLastOne;
  return true;
}

void Answers::Discard() noexcept {
  adding_ = kClosed;
  DropWaiting();
}

void Answers::DropWaiting() noexcept {
  for (const Taken& taken : waiting_) {
    conversation_.leases().Drop(taken.leases);
  }
  waiting_.clear();
  waiting_bytes_ = 0;
}

ipc::CallSlot& Answers::slot() const noexcept { return conversation_.channel().calls()[slot_]; }

bool Answers::Post(const std::function<void()>& before_last) noexcept {
  // After the last one the slot may be another call's, and whoever was told that the stub took an earlier one
  // may come only now.
  while (!posted_last_ && (ended_ || !waiting_.empty())) {
    if (!ipc::IsTaken(slot())) {
      // The stub tells when it has taken that, unless it has done so by now.
      ipc::SetMore(slot(), true);
      if (!ipc::IsTaken(slot())) {
        return false;
      }
    }
    if (PostNext(before_last)) {
      return true;
    }
  }
  return false;
}

bool Answers::PostNext(const std::function<void()>& before_last) noexcept {
  std::size_t count = 0;
  std::size_t bytes = 0;
  for (; count < waiting_.size() && count < kAtOnce && bytes < kBytesAtOnce; ++count) {
    bytes += waiting_[count].body.size();
  }
  const bool last = ended_ && count == waiting_.size();
  waiting_bytes_ -= bytes;
  const ipc::Posted posted = Write(count, last);
  if (posted.no_room && !last) {
    no_room_ = posted.wanted;
    DropWaiting();
    return false;
  }
  if (last) {
    posted_last_ = true;
    before_last();
  }
  ipc::SetMore(slot(), !last && (ended_ || count < waiting_.size()));
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
  ipc::PostAnswer(slot(), id_, posted);
  if (rings_) {
    ipc::RingCompletions(conversation_.channel().completions());
  }
  return last;
}

// The leases of what could not be written are given up.
ipc::Posted Answers::Write(std::size_t count, bool last) noexcept {
  if (no_room_ != 0) {
    return {.no_room = true, .wanted = no_room_};
  }
  ipc::Writer writer;
  try {
    std::vector<ipc::LeaseRecord> leases;
    std::vector<std::vector<std::byte>> responses;
    for (std::size_t i = 0; i < count; ++i) {
      leases.insert(leases.end(), waiting_[i].leases.begin(), waiting_[i].leases.end());
      responses.push_back(std::move(waiting_[i].body));
    }
    ipc::EncodeCallAnswer(leases, responses, last, writer);
    ipc::Block block = conversation_.arena().Allocate(writer.bytes().size());
    std::memcpy(block.data(), writer.bytes().data(), writer.bytes().size());
    const ipc::LeaseRecord lease = conversation_.leases().Add(std::move(block));
    return {.lease = lease.lease, .offset = lease.offset, .size = writer.bytes().size()};
  } catch (const std::exception&) {
    for (std::size_t i = 0; i < count; ++i) {
      conversation_.leases().Drop(waiting_[i].leases);
    }
    return {.no_room = true, .wanted = std::max<std::uint64_t>(writer.bytes().size(), 1)};
  }
}

}  // namespace tpb::backend::bls
