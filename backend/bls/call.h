// One inference that a model asked of another model (BLS): from the stub's message to the last answer in its
// call slot.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/bls/answers.h"
#include "backend/bls/output_buffers.h"
#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend {
class Conversation;
}

namespace tpb::backend::bls {

class Calls;
class Gateway;

// Lives until core has let go of its request and given the last response, whatever becomes of the caller.
// Core's callbacks run on threads of the other model, or on the submitting one: they copy, answer and wake,
// nothing else.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<Conversation> conversation, std::shared_ptr<Gateway> gateway, Calls& calls,
       std::uint64_t id, const ipc::Call& message);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  Call(Call&&) = delete;
  Call& operator=(Call&&) = delete;
  ~Call();

  // Submits the request. What core refuses becomes the answer; throws ProtocolError for what the stub may not
  // send, and then nothing was submitted.
  void Start(const ipc::Call& message);

  // Answers without asking core.
  void Refuse(ipc::Code code, const std::string& why) noexcept;

  // Asks core to give the request up; its callbacks come all the same.
  void Cancel() noexcept;

  // The same, and the stub takes no answer but the last one.
  void Abandon() noexcept;

  // The stub has taken an answer.
  void Taken() noexcept;

  [[nodiscard]] std::uint32_t slot() const noexcept { return slot_; }

  // The batch that the stub works on waits for this.
  [[nodiscard]] bool is_of_batch() const noexcept { return of_batch_; }

 private:
  void Submit(const ipc::Call& message);
  void Describe(const ipc::Request& request);
  void AddInput(const ipc::Tensor& tensor);
  [[nodiscard]] std::span<const std::byte> CopyOf(std::span<const std::byte> bytes);
  static void OnRelease(TRITONSERVER_InferenceRequest* request, std::uint32_t flags, void* userp) noexcept;
  static void OnResponse(TRITONSERVER_InferenceResponse* response, std::uint32_t flags, void* userp) noexcept;
  void Take(TRITONSERVER_InferenceResponse* response, bool final) noexcept;
  void CancelLocked() noexcept;
  void GiveUp(std::string_view why) noexcept;
  void AddRunningError(ipc::Code code, std::string_view why) noexcept;
  void AddError(ipc::Code code, std::string_view text) noexcept;
  void CountDown() noexcept;
  void Finish() noexcept;
  void EndWait() noexcept;
  void Post() noexcept;

  const std::shared_ptr<Conversation> conversation_;  // shared with the attachment and its service thread
  const std::shared_ptr<Gateway> gateway_;            // shared with the model
  Calls& calls_;                                      // the conversation's
  const std::uint64_t id_;
  const std::uint32_t slot_;
  const std::string model_;
  const bool decoupled_;
  const bool of_batch_;
  bool blocks_ = false;  // the caller's instance executes nothing else meanwhile
  OutputBuffers buffers_;
  std::vector<std::vector<std::byte>> copies_;  // of inputs that core parses
  std::uint64_t copied_ = 0;                    // bytes
  std::atomic<int> open_{2};                    // the last response and the release of the request
  std::shared_ptr<Call> self_;                  // while core may call back

  // Under mutex_, but for the thread that submits and the one that finishes.
  std::mutex mutex_;
  TRITONSERVER_InferenceRequest* request_ = nullptr;  // null once core has done with it
  Answers answers_;
};

}  // namespace tpb::backend::bls
