// The way from a model into core: submits requests to other models of the same server.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "backend/bls/waits.h"
#include "ipc/deadline.h"
#include "triton_c_api/types.h"

namespace tpb::backend::bls {

// One per attached stub, whose conversations share it with every call through it.
class Gateway {
 public:
  Gateway(TRITONSERVER_Server* server, std::shared_ptr<Waits> waits);
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;
  Gateway(Gateway&&) = delete;
  Gateway& operator=(Gateway&&) = delete;
  ~Gateway();

  [[nodiscard]] TRITONSERVER_Server* server() const noexcept { return server_; }
  [[nodiscard]] TRITONSERVER_ResponseAllocator* allocator() const noexcept { return allocator_; }

  // Throws ipc::Error, with the text that callers know, unless the model is ready and, if not `decoupled`,
  // answers each request once.
  void CheckModel(const std::string& name, std::int64_t version, bool decoupled) const;

  // The stub serves an instance of `model` from here on.
  void SetModel(const std::string& model) { waits_->Add(this, model); }

  // The thread that executes batches waits for `model`, until EndWait(). Throws ipc::Error, and then it does
  // not, when no answer could ever come.
  void BeginWait(const std::string& model) const;
  void EndWait() const noexcept { waits_->Leave(this); }

  // What the stub has asked of the server, calls and control, ever; any thread.
  void CountAsked() noexcept { asked_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t asked() const noexcept { return asked_.load(std::memory_order_relaxed); }

  // Calls that core works on; any thread.
  void Enter() noexcept;
  void Leave() noexcept;
  void AwaitNone(ipc::Deadline deadline) noexcept;

  // Memory of the server that calls under way need for copies. False when it would be more than `limit` for
  // all of them; then nothing is taken.
  [[nodiscard]] bool TakeForCopies(std::uint64_t bytes, std::uint64_t limit) noexcept;
  void ReturnFromCopies(std::uint64_t bytes) noexcept;

 private:
  TRITONSERVER_Server* const server_;
  TRITONSERVER_ResponseAllocator* const allocator_;
  const std::shared_ptr<Waits> waits_;  // shared by all stubs
  std::atomic<std::uint64_t> asked_{0};
  std::mutex mutex_;
  std::condition_variable none_left_;
  std::uint64_t calls_ = 0;   // under mutex_, as the next
  std::uint64_t copies_ = 0;  // bytes
};

}  // namespace tpb::backend::bls
