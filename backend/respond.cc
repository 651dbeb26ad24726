#include "backend/respond.h"

#include <bit>

#include "backend/pending_response.h"
#include "backend/responder.h"
#include "backend/triton_error.h"
#include "ipc/bytes.h"
#include "ipc/copy.h"
#include "ipc/dtype.h"

namespace tpb::backend {
namespace {

constexpr char kNothingSent[] =
    "execute() returned None for this request, and no response sender has answered it or can.";

std::string Describe(const ipc::Tensor& tensor) { return "output '" + std::string(tensor.name) + "'"; }

void CheckOutput(const ipc::Tensor& tensor) {
  if (tensor.memory_type == ipc::MemoryType::kGpu) {
    throw ipc::ProtocolError("the stub process describes " + Describe(tensor) + " in GPU memory");
  }
  const auto size = ipc::ByteSize(tensor.dtype, tensor.shape);
  if (!size || !ipc::ElementCount(tensor.shape)) {
    throw ipc::ProtocolError("the stub process describes " + Describe(tensor) + " with an impossible shape");
  }
  if (tensor.dtype != ipc::DataType::kBytes && *size != tensor.size) {
    throw ipc::ProtocolError("the stub process describes " + Describe(tensor) + " with " +
                             std::to_string(tensor.size) + " bytes, its shape needs " +
                             std::to_string(*size));
  }
}

// `copied` is out of the stub's reach: what is right now stays so. Only our own code in the stub encodes
// these tensors, never the model's, so one that is wrong is as much a lie as a wrong size is.
void CheckBytes(const ipc::Tensor& tensor, std::span<const std::byte> copied) {
  const std::uint64_t count = ipc::ElementCount(tensor.shape).value_or(0);
  if (const std::string fault = ipc::FaultOfBytes(copied, count, Describe(tensor)); !fault.empty()) {
    throw ipc::ProtocolError("the stub process sent a BYTES tensor that is none: " + fault);
  }
}

void AddOutput(TRITONBACKEND_Response* response, const ipc::Tensor& tensor, const Payloads& payloads,
               const std::string& instance_name) {
  const auto& api = triton::Api();
  CheckOutput(tensor);
  const auto payload = payloads.Bytes(tensor);
  TRITONBACKEND_Output* output = nullptr;
  Check(api.TRITONBACKEND_ResponseOutput(
      response, &output, std::string(tensor.name).c_str(), static_cast<TRITONSERVER_DataType>(tensor.dtype),
      tensor.shape.data(), static_cast<std::uint32_t>(tensor.shape.size())));
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::int64_t device_id = 0;
  Check(api.TRITONBACKEND_OutputBuffer(output, &buffer, payload.size(), &memory_type, &device_id));
  if (memory_type == TRITONSERVER_MEMORY_GPU) {
    throw ipc::Error(ipc::Code::kUnsupported,
                     Describe(tensor) + " of model instance '" + instance_name +
                         "' is wanted in GPU memory (device " + std::to_string(device_id) +
                         "): the Python backend gives tensors in CPU memory only, ask for it there");
  }
  ipc::Copy(buffer, payload.data(), payload.size());
  if (tensor.dtype == ipc::DataType::kBytes) {
    CheckBytes(tensor, {static_cast<const std::byte*>(buffer), payload.size()});
  }
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
                 const std::string& instance_name) {
  PendingResponse response(item.request);
  FillResponse(response.get(), answer, payloads, instance_name);
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

void FillResponse(TRITONBACKEND_Response* response, const ipc::Response& answer, const Payloads& payloads,
                  const std::string& instance_name) {
  for (const auto& output : answer.outputs) {
    AddOutput(response, output, payloads, instance_name);
  }
  for (const auto& parameter : answer.parameters) {
    AddParameter(response, parameter);
  }
}

void Respond(Batch& batch, Batch::Item& item, const ipc::Response& answer, const Payloads& payloads,
             const std::string& instance_name) {
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
    SendTensors(item, answer, payloads, instance_name);
  } catch (const ipc::ProtocolError&) {
    throw;
  } catch (const ipc::Error& error) {
    batch.Fail(item, error.code(), prefix + error.message());
  }
}

}  // namespace tpb::backend
