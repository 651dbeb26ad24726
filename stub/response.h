// pb_utils.InferenceResponse and pb_utils.TritonError: what a model answers with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ipc/error.h"
#include "stub/parameters.h"
#include "stub/tensor.h"

namespace tpb::stub {

// A value: an error for the client of one request.
class TritonError {
 public:
  TritonError(std::string message, ipc::Code code) : message_(std::move(message)), code_(code) {}

  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] ipc::Code code() const noexcept { return code_; }

 private:
  std::string message_;
  ipc::Code code_;
};

// Used and destroyed with the GIL held.
class InferenceResponse {
 public:
  // `error` may be null. Throws Error when one of the tensors is.
  InferenceResponse(std::vector<std::shared_ptr<Tensor>> output_tensors, std::shared_ptr<TritonError> error,
                    Parameters parameters);

  [[nodiscard]] const std::vector<std::shared_ptr<Tensor>>& output_tensors() const noexcept {
    return output_tensors_;
  }
  [[nodiscard]] const std::shared_ptr<TritonError>& error() const noexcept { return error_; }
  [[nodiscard]] bool has_error() const noexcept { return error_ != nullptr; }
  [[nodiscard]] const Parameters& parameters() const noexcept { return parameters_; }

  // This is none, but the end of a stream without one.
  void MarkEnd() noexcept { is_end_ = true; }

  // Empty, not `{}`, for an error and for the end of a stream: those have none.
  [[nodiscard]] std::string ParametersJson() const;

 private:
  std::vector<std::shared_ptr<Tensor>> output_tensors_;
  std::shared_ptr<TritonError> error_;  // shared with the model
  Parameters parameters_;
  bool is_end_ = false;
};

}  // namespace tpb::stub
