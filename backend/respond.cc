#include "backend/respond.h"

#include <bit>
#include <utility>

#include "backend/output.h"
#include "backend/triton_error.h"

namespace tpb::backend {
namespace {

// A response that is deleted unless it has been sent.
class PendingResponse {
 public:
  explicit PendingResponse(TRITONBACKEND_Request* request) {
    Check(triton::Api().TRITONBACKEND_ResponseNew(&response_, request));
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

  void Send() {
    Check(triton::Api().TRITONBACKEND_ResponseSend(std::exchange(response_, nullptr),
                                                   TRITONSERVER_RESPONSE_COMPLETE_FINAL, nullptr));
  }

 private:
  TRITONBACKEND_Response* response_ = nullptr;
};

void AddOutput(TRITONBACKEND_Response* response, const ipc::Tensor& tensor, const Payloads& payloads,
               const std::string& instance_name) {
  const auto& api = triton::Api();
  const auto payload = CheckedPayload(tensor, payloads);
  TRITONBACKEND_Output* output = nullptr;
  Check(api.TRITONBACKEND_ResponseOutput(
      response, &output, std::string(tensor.name).c_str(), static_cast<TRITONSERVER_DataType>(tensor.dtype),
      tensor.shape.data(), static_cast<std::uint32_t>(tensor.shape.size())));
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::int64_t device_id = 0;
  Check(api.TRITONBACKEND_OutputBuffer(output, &buffer, payload.size(), &memory_type, &device_id));
  FillBuffer({.data = buffer, .memory_type = memory_type, .device_id = device_id}, tensor, payload,
             instance_name);
}

void AddParameter(TRITONBACKEND_Response* response, const ipc::Parameter& parameter) {
  const auto& api = triton::Api();
  const std::string name(parameter.name);
  switch (parameter.type) {
    case ipc::ParameterType::kString:
      Check(api.TRITONBACKEND_ResponseSetStringParameter(response, name.c_str(),
                                                         std::string(parameter.text).c_str()));
      return;
    case ipc::ParameterType::kInt:
      Check(api.TRITONBACKEND_ResponseSetIntParameter(response, name.c_str(),
                                                      static_cast<std::int64_t>(parameter.bits)));
      return;
    case ipc::ParameterType::kBool:
      Check(api.TRITONBACKEND_ResponseSetBoolParameter(response, name.c_str(), parameter.bits != 0));
      return;
    case ipc::ParameterType::kDouble:
      Check(api.TRITONBACKEND_ResponseSetDoubleParameter(response, name.c_str(),
                                                         std::bit_cast<double>(parameter.bits)));
      return;
  }
}

void SendTensors(Batch::Item& item, const ipc::Response& answer, const Payloads& payloads,
                 const StateOutputs& states, const std::string& instance_name) {
  PendingResponse response(item.request);
  for (const auto& output : answer.outputs) {
    if (states.Has(output) && !states.Update(item.request, output, payloads, instance_name)) {
      continue;
    }
    AddOutput(response.get(), output, payloads, instance_name);
  }
  for (const auto& parameter : answer.parameters) {
    AddParameter(response.get(), parameter);
  }
  // From here the request has its answer, even if the sending of it fails.
  item.answered = true;
  item.succeeded = true;
  response.Send();
}

}  // namespace

void Respond(Batch& batch, Batch::Item& item, const ipc::Response& answer, const Payloads& payloads,
             const StateOutputs& states, const std::string& instance_name) {
  const std::string prefix = "Failed to process the request(s) for model '" + instance_name + "', message: ";
  switch (answer.kind) {
    case ipc::ResponseKind::kNone:
      batch.Fail(item, ipc::Code::kInternal,
                 prefix + "execute() returned None for this request, and nothing was sent to it before.");
      return;
    case ipc::ResponseKind::kError:
      batch.Fail(item, answer.code, std::string(answer.text));
      item.succeeded = true;
      return;
    case ipc::ResponseKind::kTensors:
      break;
  }
  try {
    SendTensors(item, answer, payloads, states, instance_name);
  } catch (const ipc::ProtocolError&) {
    throw;
  } catch (const ipc::Error& error) {
    batch.Fail(item, error.code(), prefix + error.message());
  }
}

}  // namespace tpb::backend
