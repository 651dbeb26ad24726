// The requests of one stub that its response senders may answer, by the ids that messages name them by.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backend/batch.h"
#include "backend/payloads.h"
#include "backend/responder.h"
#include "ipc/messages.h"
#include "ipc/wire.h"

namespace tpb::backend {

// While a batch is with the stub, any of its requests may get responses from the service thread; a Responder
// is made when the first comes, so a batch that is answered by its reply alone costs nothing here.
class Responders {
 public:
  explicit Responders(std::span<ipc::CancellationWord> cancellations) : cancellations_(cancellations) {}

  // --- The thread that executes ---

  // What holds for the batches to come. Before the first one.
  void SetFacts(ResponderFacts facts);

  // The id of the first item of a batch of so many; the others follow.
  std::uint64_t Reserve(std::size_t items) noexcept;

  // The batch is with the stub for as long as this lives: its items, which the other thread looks at, stay as
  // they are.
  class WithStub {
   public:
    // `first_id` was reserved for it.
    WithStub(Responders& responders, Batch& batch, std::uint64_t first_id) noexcept;
    WithStub(const WithStub&) = delete;
    WithStub& operator=(const WithStub&) = delete;
    WithStub(WithStub&&) = delete;
    WithStub& operator=(WithStub&&) = delete;
    ~WithStub();

    // The reply is there, for the items `sent`: those that it leaves open get responses beyond this.
    void KeepOpen(std::span<const std::size_t> sent, const ipc::Reply& reply) noexcept;

   private:
    Responders& responders_;
  };

  // --- The service thread. An id that is not known is none of a response that is still awaited: false ---

  bool Send(std::uint64_t id, const ipc::Response& response, const Payloads& payloads, bool final);
  bool SendFinal(std::uint64_t id);

  // Nobody is left in the stub who could answer.
  bool Abandon(std::uint64_t id);

  // From here on the stub wants to know, in that word, whether the request is cancelled. Throws ProtocolError
  // for a word that does not exist.
  void Watch(std::uint64_t id, std::uint64_t word);

  // Every request of the batch that the stub works on, and there is one, was cancelled.
  [[nodiscard]] bool BatchIsCancelled() noexcept;

  // Looks after what is watched.
  void LookForCancelled() noexcept;
  [[nodiscard]] bool IsWatching() const noexcept { return !watched_.empty(); }

  // --- Any thread ---

  // Requests that have not got their last response.
  [[nodiscard]] std::size_t InFlight() const noexcept;

  // From here on the stub sees all of its requests as cancelled.
  void CancelAll() noexcept;

  // The stub is gone, and `how` says how: whoever still waits for a response gets an error, and so does who
  // comes later.
  void FailAll(const std::string& how = {}) noexcept;

  // A child of the trace of a request that is still with its batch, the caller's; or null.
  TRITONSERVER_InferenceTrace* SpawnTrace(std::uint64_t id) noexcept;

 private:
  // With the mutex held.
  void TakeBack() noexcept;
  void KeepOpenLocked(std::span<const std::size_t> sent, const ipc::Reply& reply) noexcept;
  Batch::Item* ItemOf(std::uint64_t id) noexcept;

  std::shared_ptr<Responder> Find(std::uint64_t id);
  void Forget(std::uint64_t id) noexcept;

  struct Watched {
    std::shared_ptr<Responder> responder;
    std::uint64_t word;
  };

  const std::span<ipc::CancellationWord> cancellations_;
  std::uint64_t next_ = 1;                    // of the thread that executes
  std::map<std::uint64_t, Watched> watched_;  // of the service thread

  mutable std::mutex mutex_;
  std::shared_ptr<const ResponderFacts> facts_;
  Batch* batch_ = nullptr;  // with the stub
  std::uint64_t first_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Responder>> open_;  // shared with items, and with who is using one
  bool failed_ = false;
  std::atomic<bool> cancelled_{false};
};

}  // namespace tpb::backend
