// A response of core's that is deleted unless it has been sent.
#pragma once

#include <cstdint>
#include <utility>

#include "backend/triton_error.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

class PendingResponse {
 public:
  // To a request that is ours. Throws ipc::Error, as the next does.
  explicit PendingResponse(TRITONBACKEND_Request* request) {
    Check(triton::Api().TRITONBACKEND_ResponseNew(&response_, request));
  }
  // To one that core has back.
  explicit PendingResponse(TRITONBACKEND_ResponseFactory* factory) {
    Check(triton::Api().TRITONBACKEND_ResponseNewFromFactory(&response_, factory));
  }
  PendingResponse(const PendingResponse&) = delete;
  PendingResponse& operator=(const PendingResponse&) = delete;
  PendingResponse(PendingResponse&&) = delete;
  PendingResponse& operator=(PendingResponse&&) = delete;
  ~PendingResponse() {
    if (response_ != nullptr) {
      LogFailure(triton::Api().TRITONBACKEND_ResponseDelete(response_), "Unable to delete a response");
    }
  }

  [[nodiscard]] TRITONBACKEND_Response* get() const noexcept { return response_; }

  // `error` stays the caller's; null for none. Gone afterwards, even when this throws ipc::Error.
  void Send(std::uint32_t flags, TRITONSERVER_Error* error) {
    Check(triton::Api().TRITONBACKEND_ResponseSend(std::exchange(response_, nullptr), flags, error));
  }

 private:
  TRITONBACKEND_Response* response_ = nullptr;
};

}  // namespace tpb::backend
