#include "backend/respond.h"

#include <bit>

#include "backend/output.h"
#include "backend/pending_response.h"
#include "backend/responder.h"
#include "backend/triton_error.h"

namespace tpb::backend {
namespace {

constexpr char kNothingSent[] =
    "execute() returned None for this request, and no response sender has answered it or can.";

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
  FillResponse(response.get(), item.request, answer, payloads, states, instance_name);
  // From here the request has its answer, even if the sending of it fails.
  item.answered = true;
  item.succeeded = true;
  response.Send(TRITONSERVER_RESPONSE_COMPLETE_FINAL, nullptr);
}

// Of a request that a response sender was used for.
void RespondBesideSender(Batch::Item& item, const ipc::Response& answer, const Payloads& payloads) {
  item.responder->Send(answer, payloads, true);
  item.answered = true;
  item.succeeded = true;
}

}  // namespace

void FillResponse(TRITONBACKEND_Response* response, TRITONBACKEND_Request* request,
                  const ipc::Response& answer, const Payloads& payloads, const StateOutputs& states,
                  const std::string& instance_name) {
  for (const auto& output : answer.outputs) {
    if (states.Has(output) &&
        (request == nullptr || !states.Update(request, output, payloads, instance_name))) {
      continue;
    }
    AddOutput(response, output, payloads, instance_name);
  }
  for (const auto& parameter : answer.parameters) {
    AddParameter(response, parameter);
  }
}

void Respond(Batch& batch, Batch::Item& item, const ipc::Response& answer, const Payloads& payloads,
             const StateOutputs& states, const std::string& instance_name) {
  const std::string prefix = "Failed to process the request(s) for model '" + instance_name + "', message: ";
  if (item.open || (item.responder && item.responder->closed())) {
    item.answered = true;
    item.succeeded = true;
    return;
  }
  switch (answer.kind) {
    case ipc::ResponseKind::kNone:
    case ipc::ResponseKind::kOpen:
      batch.Fail(item, ipc::Code::kInternal, prefix + kNothingSent);
      return;
    case ipc::ResponseKind::kReschedule:
      item.answered = true;
      item.succeeded = true;
      item.rescheduled = true;
      return;
    case ipc::ResponseKind::kError:
      batch.Fail(item, answer.code, std::string(answer.text));
      item.succeeded = true;
      return;
    case ipc::ResponseKind::kTensors:
      break;
  }
  if (item.responder) {
    RespondBesideSender(item, answer, payloads);
    return;
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
