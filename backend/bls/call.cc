#include "backend/bls/call.h"

#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "backend/bls/calls.h"
#include "backend/bls/gateway.h"
#include "backend/bls/response.h"
#include "backend/conversation.h"
#include "backend/triton_error.h"
#include "ipc/call_slots.h"
#include "ipc/codec.h"

namespace tpb::backend::bls {
namespace {

std::uint64_t BytesOf(const ipc::Tensor& tensor) {
  std::uint64_t size = ipc::ElementSize(tensor.dtype);
  for (const std::int64_t dimension : tensor.shape) {
    if (dimension < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(dimension), &size)) {
      throw ipc::ProtocolError("input '" + std::string(tensor.name) + "' of a call has an impossible shape");
    }
  }
  return size;
}

void SetParameter(TRITONSERVER_InferenceRequest* request, const ipc::Parameter& parameter) {
  const auto& api = triton::Api();
  const std::string name(parameter.name);
  switch (parameter.type) {
    case ipc::ParameterType::kString:
      Check(api.TRITONSERVER_InferenceRequestSetStringParameter(request, name.c_str(),
                                                                std::string(parameter.text).c_str()));
      return;
    case ipc::ParameterType::kInt:
      Check(api.TRITONSERVER_InferenceRequestSetIntParameter(request, name.c_str(),
                                                             static_cast<std::int64_t>(parameter.bits)));
      return;
    case ipc::ParameterType::kBool:
      Check(api.TRITONSERVER_InferenceRequestSetBoolParameter(request, name.c_str(), parameter.bits != 0));
      return;
    case ipc::ParameterType::kDouble:
      Check(api.TRITONSERVER_InferenceRequestSetDoubleParameter(request, name.c_str(),
                                                                std::bit_cast<double>(parameter.bits)));
      return;
  }
}

}  // namespace

Call::Call(std::shared_ptr<Conversation> conversation, std::shared_ptr<Gateway> gateway, Calls& calls,
           std::uint64_t id, std::uint32_t slot)
    : conversation_(std::move(conversation)),
      gateway_(std::move(gateway)),
      calls_(calls),
      id_(id),
      slot_(slot),
      buffers_(conversation_->arena()) {}

void Call::Start(const ipc::Call& message) {
  const std::string model(message.model_name);
  gateway_->Enter();
  const auto refuse = [&](ipc::Code code, const std::string& why) {
    AnswerError(code, "Model " + model + " - Error when running inference: " + why);
    Finish();
  };
  try {
    gateway_->CheckModel(model, message.model_version);
    Submit(message);
  } catch (const ipc::ProtocolError&) {
    gateway_->Leave();
    throw;
  } catch (const ipc::Error& error) {
    refuse(error.code(), error.message());
  } catch (const std::exception& error) {
    refuse(ipc::Code::kInternal, error.what());  // out of memory, say
  }
}

void Call::Submit(const ipc::Call& message) {
  const auto& api = triton::Api();
  Check(api.TRITONSERVER_InferenceRequestNew(&request_, gateway_->server(),
                                             std::string(message.model_name).c_str(), message.model_version));
  try {
    Describe(message.request);
    Check(api.TRITONSERVER_InferenceRequestSetReleaseCallback(request_, OnRelease, this));
    Check(api.TRITONSERVER_InferenceRequestSetResponseCallback(request_, gateway_->allocator(), &buffers_,
                                                               OnResponse, this));
    // Once core has taken it, everything may be over before this returns.
    const auto self = shared_from_this();
    Check(api.TRITONSERVER_ServerInferAsync(gateway_->server(), request_, nullptr));
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    LogFailure(api.TRITONSERVER_InferenceRequestDelete(std::exchange(request_, nullptr)),
               "Unable to delete a request");
    throw;
  }
}

void Call::Describe(const ipc::Request& request) {
  const auto& api = triton::Api();
  Check(api.TRITONSERVER_InferenceRequestSetId(request_, std::string(request.id).c_str()));
  Check(api.TRITONSERVER_InferenceRequestSetFlags(request_, request.flags));
  if (request.correlation_is_text) {
    Check(api.TRITONSERVER_InferenceRequestSetCorrelationIdString(
        request_, std::string(request.correlation_text).c_str()));
  } else {
    Check(api.TRITONSERVER_InferenceRequestSetCorrelationId(request_, request.correlation_id));
  }
  Check(api.TRITONSERVER_InferenceRequestSetTimeoutMicroseconds(request_, request.timeout_us));
  for (const auto& parameter : request.parameters) {
    SetParameter(request_, parameter);
  }
  for (const auto& input : request.inputs) {
    AddInput(input);
  }
  for (const auto name : request.requested_outputs) {
    Check(api.TRITONSERVER_InferenceRequestAddRequestedOutput(request_, std::string(name).c_str()));
  }
}

// Core and the other model's backend only copy or read as numbers what has a fixed size, so it may lie where
// the stub could still write. Strings are parsed, more than once: those are copied out of its reach.
void Call::AddInput(const ipc::Tensor& tensor) {
  const auto& api = triton::Api();
  auto bytes = conversation_->payloads().Bytes(tensor);
  if (tensor.memory_type == ipc::MemoryType::kGpu) {
    throw ipc::ProtocolError("input '" + std::string(tensor.name) + "' of a call lies in GPU memory");
  }
  if (tensor.dtype == ipc::DataType::kBytes) {
    bytes = copies_.emplace_back(bytes.begin(), bytes.end());
  } else if (BytesOf(tensor) != bytes.size()) {
    throw ipc::ProtocolError("input '" + std::string(tensor.name) + "' of a call has " +
                             std::to_string(bytes.size()) + " bytes");
  }
  const std::string name(tensor.name);
  Check(api.TRITONSERVER_InferenceRequestAddInput(request_, name.c_str(),
                                                  static_cast<TRITONSERVER_DataType>(tensor.dtype),
                                                  tensor.shape.data(), tensor.shape.size()));
  Check(api.TRITONSERVER_InferenceRequestAppendInputData(request_, name.c_str(), bytes.data(), bytes.size(),
                                                         TRITONSERVER_MEMORY_CPU, 0));
}

void Call::Cancel() noexcept {
  const std::scoped_lock lock(mutex_);
  if (request_ != nullptr) {
    LogFailure(triton::Api().TRITONSERVER_InferenceRequestCancel(request_), "Unable to cancel a request");
  }
}

void Call::OnRelease(TRITONSERVER_InferenceRequest* request, std::uint32_t flags, void* userp) noexcept {
  if ((flags & TRITONSERVER_REQUEST_RELEASE_ALL) == 0) {
    return;
  }
  auto& call = *static_cast<Call*>(userp);
  {
    const std::scoped_lock lock(call.mutex_);
    call.request_ = nullptr;
  }
  LogFailure(triton::Api().TRITONSERVER_InferenceRequestDelete(request), "Unable to delete a request");
  call.CountDown();
}

void Call::OnResponse(TRITONSERVER_InferenceResponse* response, std::uint32_t flags, void* userp) noexcept {
  auto& call = *static_cast<Call*>(userp);
  if (response != nullptr) {
    call.Take(response);
  }
  if ((flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0) {
    call.CountDown();
  }
}

// More than one comes only from a model that was loaded anew as a decoupled one: then the last one counts.
void Call::Take(TRITONSERVER_InferenceResponse* response) noexcept {
  {
    const std::scoped_lock lock(mutex_);
    conversation_->leases().Drop(leases_);
    leases_.clear();
    try {
      Answer answer = ReadResponse(response, buffers_, conversation_->leases());
      answer_ = std::move(answer.body);
      leases_ = std::move(answer.leases);
    } catch (const ipc::Error& error) {
      AnswerError(error.code(), error.message());
    } catch (const std::exception& error) {
      AnswerError(ipc::Code::kInternal, error.what());
    }
  }
  LogFailure(triton::Api().TRITONSERVER_InferenceResponseDelete(response), "Unable to delete a response");
}

void Call::AnswerError(ipc::Code code, const std::string& text) noexcept {
  try {
    answer_ = ErrorAnswer(code, text);
  } catch (const std::exception&) {
    answer_.clear();
  }
}

void Call::CountDown() noexcept {
  if (open_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    Finish();
  }
}

// The stub may use the slot for its next call, and all memory, the moment that it is answered: what the
// answer does not name is given up before.
void Call::Finish() noexcept {
  const auto self = shared_from_this();
  buffers_.Clear();
  if (answer_.empty()) {
    AnswerError(ipc::Code::kInternal, "Unexpected empty response.");
  }
  calls_.Ended(id_);
  ipc::Posted posted;
  try {
    ipc::Block block = conversation_->arena().Allocate(answer_.size());
    std::memcpy(block.data(), answer_.data(), answer_.size());
    const ipc::LeaseRecord lease = conversation_->leases().Add(std::move(block));
    posted = {.lease = lease.lease, .offset = lease.offset, .size = answer_.size()};
  } catch (const std::exception&) {
    conversation_->leases().Drop(leases_);
    posted = {.no_room = true, .wanted = answer_.size()};
  }
  ipc::PostAnswer(conversation_->channel().calls()[slot_], id_, posted);
  gateway_->Leave();
}

}  // namespace tpb::backend::bls
