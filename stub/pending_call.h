// One inference of another model, from the snapshot of its inputs to its last answer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ipc/call_slots.h"
#include "ipc/codec.h"
#include "stub/connection.h"
#include "stub/lease.h"
#include "stub/open_call.h"
#include "stub/request.h"
#include "stub/response.h"

namespace tpb::stub {

// Used and destroyed with the GIL held. One that is destroyed before its last answer is cancelled; what it
// still needs stays with the connection until the server has done with it.
class PendingCall {
 public:
  // The tensors as they are now. `flags`: CallFlag. Waits for a free slot. Throws Error.
  PendingCall(const InferenceRequest& request, std::shared_ptr<Connection> connection, std::uint32_t flags);
  PendingCall(const PendingCall&) = delete;
  PendingCall& operator=(const PendingCall&) = delete;
  PendingCall(PendingCall&&) = delete;
  PendingCall& operator=(PendingCall&&) = delete;
  ~PendingCall();

  // Once. Waits for room in the ring of events. Throws Error when the server is gone.
  void Send();

  // Takes what has been answered; never waits. Throws Error for an answer that does not fit.
  void Poll();

  // Sleeps until there is an answer to take. Throws Error when the server is gone.
  void Wait();

  // Asks the server to give the call up. Its last answer comes all the same.
  void Cancel();

  // All so far, oldest first.
  [[nodiscard]] const std::vector<std::shared_ptr<InferenceResponse>>& responses() const noexcept {
    return responses_;
  }
  [[nodiscard]] bool done() const noexcept { return done_; }

 private:
  void TakeAnswer(const ipc::Posted& posted);
  void Finish() noexcept;

  const std::shared_ptr<Connection> connection_;
  ipc::Writer body_;
  std::unique_ptr<OpenCall> call_;            // until the last answer
  std::vector<std::shared_ptr<Lease>> lent_;  // blocks of the server that inputs lie in; as long
  std::vector<std::shared_ptr<InferenceResponse>> responses_;
  bool sent_ = false;
  bool done_ = false;
};

// A response of nothing but an error.
std::shared_ptr<InferenceResponse> FailedResponse(ipc::Code code, std::string text);

}  // namespace tpb::stub
