// The way of a call's responses to its slot: those that the stub has no room for wait here until it has taken
// the ones before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>

#include "backend/bls/response.h"
#include "ipc/call_slots.h"
#include "ipc/wire.h"

namespace tpb::backend {
class Conversation;
}

namespace tpb::backend::bls {

// Never waits. With the call's mutex held. What waits is bounded in number and bytes; outputs lie in the
// caller's arena, which bounds theirs.
class Answers {
 public:
  // `rings`: answers ring the channel's completion line.
  Answers(Conversation& conversation, std::uint64_t id, std::uint32_t slot, bool rings)
      : conversation_(conversation), id_(id), slot_(slot), rings_(rings) {}
  Answers(const Answers&) = delete;
  Answers& operator=(const Answers&) = delete;
  Answers(Answers&&) = delete;
  Answers& operator=(Answers&&) = delete;
  ~Answers() { DropWaiting(); }

  // False when so much waits already that this was dropped.
  bool Add(Taken taken) noexcept;

  // Only one more, an error, is added from here on, whatever waits. False when this was so already.
  bool Close() noexcept;

  // Nothing is added any more.
  void End() noexcept { ended_ = true; }

  // Whatever waits is given up, and nothing more is kept.
  void Discard() noexcept;

  // Something was added, posted or not.
  [[nodiscard]] bool any() const noexcept { return any_; }

  // Posts what waits, if the stub has taken what was posted before. True when that was the last answer; the
  // slot may belong to another call from then on, so `before_last` is called ahead of it.
  bool Post(const std::function<void()>& before_last) noexcept;

 private:
  ipc::CallSlot& slot() const noexcept;
  [[nodiscard]] bool PostNext(const std::function<void()>& before_last) noexcept;
  ipc::Posted Write(std::size_t count, bool last) noexcept;
  void DropWaiting() noexcept;

  Conversation& conversation_;
  const std::uint64_t id_;
  const std::uint32_t slot_;
  const bool rings_;
  std::deque<Taken> waiting_;
  std::uint64_t no_room_ = 0;  // for an answer of so many bytes: nothing but that is told
  std::size_t waiting_bytes_ = 0;
  bool any_ = false;
  enum { kOpen, kLastOne, kClosed } adding_ = kOpen;
  bool ended_ = false;
  bool posted_last_ = false;
};

}  // namespace tpb::backend::bls
