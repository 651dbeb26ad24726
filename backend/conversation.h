// One channel as the server serves it: the blocks that the other side holds, and what its events ask for. A
// stub has one, and each of its forked children that talks to the server has one of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backend/bls/calls.h"
#include "backend/control/asks.h"
#include "backend/control/ready_check.h"
#include "backend/leases.h"
#include "backend/payloads.h"
#include "backend/responders.h"
#include "ipc/channel.h"

namespace tpb::backend {

// Shared by the attachment, its service thread and every call that core still works on: those name blocks of
// it.
class Conversation : public std::enable_shared_from_this<Conversation> {
 public:
  struct Options {
    std::string region_name;
    std::uint64_t max_bytes = 0;
    std::uint32_t event_slots = 1024;
    ipc::MemoryRules memory_rules = ipc::kDefaultMemoryRules;
    std::shared_ptr<ipc::Budget> memory_budget = nullptr;  // shared by all stubs
    std::string label;                                     // of the model or instance, for messages
    std::shared_ptr<bls::Gateway> gateway;                 // null: no calls
    control::ModelControl* model_control = nullptr;        // outlives the service thread
    std::chrono::milliseconds events_patience{5000};
    // Messages that named something unknown; of all channels of a stub.
    std::shared_ptr<std::atomic<std::uint64_t>> dropped = std::make_shared<std::atomic<std::uint64_t>>(0);
  };
  static std::shared_ptr<Conversation> Create(const Options& options);

  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  Conversation(Conversation&&) = delete;
  Conversation& operator=(Conversation&&) = delete;
  ~Conversation() = default;

  [[nodiscard]] ipc::ServerChannel& channel() noexcept { return *channel_; }
  [[nodiscard]] ipc::Arena& arena() noexcept { return *channel_->arena(); }
  Leases& leases() noexcept { return leases_; }
  Responders& responders() noexcept { return responders_; }

  // What outputs of a reply name, until its exchange is settled.
  [[nodiscard]] Payloads payloads() const noexcept { return {*channel_, leases_}; }

  // Service thread: handles events, at most `limit`; true when there may be more. Throws ProtocolError for
  // one that the stub may not send.
  bool HandleEvents(int limit);

  // Returns when `count` events have been handled or `gone` is set; throws ProtocolError when so many were
  // not even sent.
  void AwaitEvents(std::uint64_t count, const std::atomic<bool>& gone);

  // Lets the other side know which lines the log takes now, so that it sends no others.
  void TellLogLevels() noexcept;

  // `gone` may have been set: AwaitEvents looks again.
  void Wake() noexcept;

  // Looks after what may have been cancelled, while there is something; core has no event for that.
  [[nodiscard]] bool MayBeCancelled() noexcept { return responders_.IsWatching() || calls_.AnyOfBatch(); }
  void LookForCancelled() noexcept;

  // The stub is to leave: it makes no further calls, those in flight are given up, and its requests look
  // cancelled to it.
  void CancelAll() noexcept;

  // Nobody listens on the other side any more: no further calls, those in flight are cancelled, and whoever
  // still waits for responses gets an error, which `how` it ended belongs to.
  void Close(const std::string& how = {}) noexcept;

  // Of the model's is_ready(); any thread.
  control::ReadyCheck& ready_check() noexcept { return ready_check_; }

  // Messages that named something unknown, and were dropped.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_->load(std::memory_order_relaxed); }
  void CountDropped() noexcept { dropped_->fetch_add(1, std::memory_order_relaxed); }

 private:
  Conversation(std::unique_ptr<ipc::ServerChannel> channel, const Options& options);

  void HandleEvent(const ipc::Slot& slot);
  void LogLine(const ipc::Slot& slot);
  void Respond(const ipc::Slot& slot);
  void CountUnless(bool known) noexcept;
  void TakeReadyAnswer(const ipc::Slot& slot);
  void CountAsked() noexcept;

  const std::string label_;
  const std::chrono::milliseconds events_patience_;
  const std::unique_ptr<ipc::ServerChannel> channel_;
  Leases leases_;
  bls::Calls calls_;
  Responders responders_;
  control::Asks asks_;
  control::ReadyCheck ready_check_;
  const std::shared_ptr<bls::Gateway> gateway_;
  const std::shared_ptr<std::atomic<std::uint64_t>> dropped_;

  std::mutex events_mutex_;
  std::condition_variable events_wake_;
  std::uint64_t events_handled_ = 0;  // under events_mutex_
};

}  // namespace tpb::backend
