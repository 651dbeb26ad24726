#include "stub/response.h"

#include <utility>

namespace tpb::stub {

InferenceResponse::InferenceResponse(std::vector<std::shared_ptr<Tensor>> output_tensors,
                                     std::shared_ptr<TritonError> error, Parameters parameters)
    : output_tensors_(std::move(output_tensors)),
      error_(std::move(error)),
      parameters_(std::move(parameters)) {
  for (const auto& tensor : output_tensors_) {
    if (!tensor) {
      throw ipc::Error(ipc::Code::kInvalidArg, "Output tensor for inference response should not be empty.");
    }
  }
}

std::string InferenceResponse::ParametersJson() const {
  return has_error() || is_end_ ? "" : PythonJson(parameters_);
}

}  // namespace tpb::stub
