// The calls of one conversation that core still works on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/bls/call.h"
#include "backend/bls/gateway.h"

namespace tpb::backend::bls {

class Calls {
 public:
  // Without a gateway no call is possible.
  explicit Calls(std::shared_ptr<Gateway> gateway) : gateway_(std::move(gateway)) {}

  // Service thread; `body` is the private copy of a kCall message. Throws ProtocolError for one that the stub
  // may not send.
  void Start(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
             const std::vector<std::byte>& body);

  // Service thread: the stub has taken an answer, or does not want the next ones. False for a call that is
  // over, or never was.
  bool Taken(std::uint64_t id) noexcept;
  bool Cancel(std::uint64_t id, bool abandoned) noexcept;

  // Those that the batch at hand waits for, when its clients have given it up.
  [[nodiscard]] bool AnyOfBatch() noexcept;
  void CancelThoseOfBatch() noexcept;

  // No more calls from here on; those in flight are given up.
  void CancelAll() noexcept;

  // From a call: it is about to be answered, so that its slot may be used again. Any thread.
  void Ended(std::uint64_t id) noexcept;

 private:
  std::shared_ptr<Call> Enlist(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                               const ipc::Call& message);
  std::shared_ptr<Call> Find(std::uint64_t id) noexcept;

  const std::shared_ptr<Gateway> gateway_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<Call>> calls_;  // shared with whoever runs a callback
  std::map<std::uint32_t, std::uint64_t> busy_;           // call slot -> call
  std::size_t of_batch_ = 0;                              // how many of calls_
  bool closed_ = false;
};

}  // namespace tpb::backend::bls
