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
           std::uint64_t id, const ipc::Call& message)
    : conversation_(std::move(conversation)),
      gateway_(std::move(gateway)),
      calls_(calls),
      id_(id),
      slot_(message.slot),
      model_(message.model_name),
      decoupled_((message.flags & ipc::kCallDecoupled) != 0),
      of_batch_((message.flags & ipc::kCallBlocks) != 0),
      buffers_(conversation_->arena()),
      answers_(*conversation_, id, message.slot, (message.flags & ipc::kCallRings) != 0) {}

Call::~Call() { gateway_->ReturnFromCopies(copied_); }

void Call::Start(const ipc::Call& message) {
  gateway_->Enter();
  try {
    gateway_->CheckModel(model_, message.model_version, decoupled_);
    if (of_batch_) {
      gateway_->BeginWait(model_);
      blocks_ = true;
    }
    Submit(message);
  } catch (const ipc::ProtocolError&) {
    EndWait();
    gateway_->Leave();
    throw;
  } catch (const ipc::Error& error) {
    Refuse(error.code(), error.message());
  } catch (const std::exception& error) {
    Refuse(ipc::Code::kInternal, error.what());  // out of memory, say
  }
}

void Call::Refuse(ipc::Code code, const std::string& why) noexcept {
  {
    const std::scoped_lock lock(mutex_);
    AddRunningError(code, why);
  }
  Finish();
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
    self_ = self;
    TRITONSERVER_InferenceTrace* const trace = conversation_->responders().SpawnTrace(message.parent);
    Check(api.TRITONSERVER_ServerInferAsync(gateway_->server(), request_, trace));
  } catch (...) {
    self_.reset();
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
  if (request.priority != 0) {
    Check(api.TRITONSERVER_InferenceRequestSetPriorityUInt64(request_, request.priority));
  }
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
    bytes = CopyOf(bytes);
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

// What a stub names costs it nothing, however large it is and however often it is named: memory that it never
// touched counts, too. The copies may take as much as it could hold of such tensors at once.
std::span<const std::byte> Call::CopyOf(std::span<const std::byte> bytes) {
  const std::uint64_t limit = conversation_->channel().layout().region_size;
  if (!gateway_->TakeForCopies(bytes.size(), limit)) {
    throw ipc::Error(ipc::Code::kUnavailable,
                     "the strings in calls of this instance that are under way would take more than " +
                         std::to_string(limit) +
                         " bytes: wait for some, or raise --backend-config=python,shm-max-byte-size");
  }
  copied_ += bytes.size();
  return copies_.emplace_back(bytes.begin(), bytes.end());
}

void Call::Cancel() noexcept {
  const std::scoped_lock lock(mutex_);
  CancelLocked();
}

void Call::CancelLocked() noexcept {
  if (request_ != nullptr) {
    LogFailure(triton::Api().TRITONSERVER_InferenceRequestCancel(request_), "Unable to cancel a request");
  }
}

void Call::Abandon() noexcept {
  const std::scoped_lock lock(mutex_);
  answers_.Discard();
  CancelLocked();
}

void Call::Taken() noexcept {
  const std::scoped_lock lock(mutex_);
  Post();
}

// The request is kept for the responses that may still come: it is the only way to cancel them.
void Call::OnRelease(TRITONSERVER_InferenceRequest* /*request*/, std::uint32_t flags, void* userp) noexcept {
  if ((flags & TRITONSERVER_REQUEST_RELEASE_ALL) != 0) {
    static_cast<Call*>(userp)->CountDown();
  }
}

void Call::OnResponse(TRITONSERVER_InferenceResponse* response, std::uint32_t flags, void* userp) noexcept {
  auto& call = *static_cast<Call*>(userp);
  const bool final = (flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL) != 0;
  call.Take(response, final);
  if (response != nullptr) {
    LogFailure(triton::Api().TRITONSERVER_InferenceResponseDelete(response), "Unable to delete a response");
  }
  if (final) {
    call.CountDown();
  }
}

void Call::Take(TRITONSERVER_InferenceResponse* response, bool final) noexcept {
  const std::scoped_lock lock(mutex_);
  if (!decoupled_ && answers_.any()) {
    return;  // a model that was loaded anew as a decoupled one, or the end of a default-mode response
  }
  if (decoupled_ && buffers_.ran_out()) {
    GiveUp(
        "there is no room for more responses in the caller's shared memory: the call was cancelled. Let go "
        "of responses as they come, or raise --backend-config=python,shm-max-byte-size");
    return;
  }
  bool kept = true;
  try {
    if (response != nullptr) {
      kept = answers_.Add(ReadResponse(response, buffers_, conversation_->leases()));
    } else if (decoupled_ && final) {
      kept = answers_.Add(EmptyResponse());
    }
  } catch (const ipc::Error& error) {
    AddError(error.code(), error.message());
  } catch (const std::exception& error) {
    AddError(ipc::Code::kInternal, error.what());
  }
  if (!kept) {
    GiveUp("it answers faster than the caller reads, and too many responses wait: the call was cancelled");
  }
  if (decoupled_ && !final) {
    Post();  // the last one goes out with the end, at once in most cases
  }
}

// The caller is so far behind that it gets what waits, this error, and no more.
void Call::GiveUp(std::string_view why) noexcept {
  if (answers_.Close()) {
    AddRunningError(ipc::Code::kUnavailable, why);
    CancelLocked();
  }
}

void Call::AddRunningError(ipc::Code code, std::string_view why) noexcept {
  try {
    answers_.Add(
        ErrorResponse(code, "Model " + model_ + " - Error when running inference: " + std::string(why)));
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Out of memory: the caller gets an answer without a response.
  }
}

void Call::AddError(ipc::Code code, std::string_view text) noexcept {
  try {
    answers_.Add(ErrorResponse(code, std::string(text)));
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // As above.
  }
}

void Call::CountDown() noexcept {
  if (open_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    Finish();
  }
}

// Core has done with the call. The stub may use all memory that the last answer does not name when it is
// there: what core got is given up before.
void Call::Finish() noexcept {
  const auto self = weak_from_this().lock();  // to the end of this function
  self_.reset();
  {
    const std::scoped_lock lock(mutex_);
    if (request_ != nullptr) {
      LogFailure(triton::Api().TRITONSERVER_InferenceRequestDelete(std::exchange(request_, nullptr)),
                 "Unable to delete a request");
    }
    buffers_.Clear();
    if (!answers_.any()) {
      AddError(ipc::Code::kInternal, "Unexpected empty response.");
    }
    answers_.End();
    EndWait();  // the caller may make its next call when the answer is there
    Post();
  }
  gateway_->Leave();
}

void Call::EndWait() noexcept {
  if (std::exchange(blocks_, false)) {
    gateway_->EndWait();
  }
}

// With the mutex held.
void Call::Post() noexcept {
  answers_.Post([this] { calls_.Ended(id_); });
}

}  // namespace tpb::backend::bls
