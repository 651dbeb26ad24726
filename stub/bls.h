// Calls from a model to other models of the same server (BLS).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "stub/pending_call.h"
#include "stub/request.h"
#include "stub/response.h"

namespace tpb::stub {

// pb_utils.ResponseIterator: the responses of one call, as they come. Used and destroyed with the GIL held.
class ResponseIterator {
 public:
  // Of a call that was sent, or of what came instead of one.
  explicit ResponseIterator(std::shared_ptr<PendingCall> call) : call_(std::move(call)) {}
  explicit ResponseIterator(std::shared_ptr<InferenceResponse> only) : collected_{std::move(only)} {}

  // The next response, null at the end; waits without the GIL.
  std::shared_ptr<InferenceResponse> Next();

  // From the first response on, if the last one was given.
  void RewindAtEnd() noexcept;

  // Asks the other model to stop. Nothing after the last response.
  void Cancel();

 private:
  [[nodiscard]] const std::vector<std::shared_ptr<InferenceResponse>>& responses() const noexcept {
    return call_ ? call_->responses() : collected_;
  }

  const std::shared_ptr<PendingCall> call_;  // shared with whoever waits for its first answer
  const std::vector<std::shared_ptr<InferenceResponse>> collected_;
  std::size_t next_ = 0;
  bool ended_ = false;
};

// Calls run on any thread, with the GIL held at the start and at the end. The tensors go as they are now.
// What goes wrong on the way, or in the other model, is a response with an error. Throw Error outside of
// execute.

// Waits for the one response, without the GIL.
std::shared_ptr<InferenceResponse> RunInference(const InferenceRequest& request);

// Returns when the call is on its way.
std::shared_ptr<ResponseIterator> StreamInference(const InferenceRequest& request);

// A call whose answers ring the connection's completion line, not sent yet.
struct Prepared {
  std::shared_ptr<Connection> connection;
  std::shared_ptr<PendingCall> call;
  std::shared_ptr<InferenceResponse> failure;  // instead of both
};
Prepared PrepareInference(const InferenceRequest& request, bool decoupled);

// What `error` is as the response to `request`.
std::shared_ptr<InferenceResponse> NoInference(const InferenceRequest& request, const ipc::Error& error);

}  // namespace tpb::stub
