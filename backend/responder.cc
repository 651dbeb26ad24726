#include "backend/responder.h"

#include <optional>
#include <utility>

#include "backend/pending_response.h"
#include "backend/respond.h"
#include "backend/triton_error.h"

namespace tpb::backend {

Responder::Responder(TRITONBACKEND_Request* request, std::shared_ptr<const ResponderFacts> facts)
    : facts_(std::move(facts)), request_(request) {}

Responder::~Responder() {
  if (factory_ != nullptr) {
    LogFailure(triton::Api().TRITONBACKEND_ResponseFactoryDelete(factory_),
               "Unable to delete a response factory");
  }
}

bool Responder::Send(const ipc::Response& response, const Payloads& payloads, bool final) {
  const std::scoped_lock lock(mutex_);
  if (closed_) {
    return false;
  }
  if (!MayRespond()) {
    throw ipc::ProtocolError("the stub process sent a second response to a request of '" +
                             facts_->instance_name + "', which is not decoupled");
  }
  closed_ = final;
  ++responses_;
  SendLocked(response, payloads, final ? std::uint32_t{TRITONSERVER_RESPONSE_COMPLETE_FINAL} : 0U);
  return true;
}

void Responder::SendLocked(const ipc::Response& response, const Payloads& payloads, std::uint32_t flags) {
  if (response.kind == ipc::ResponseKind::kError) {
    SendError(response.code, std::string(response.text), flags);
    return;
  }
  try {
    std::optional<PendingResponse> pending;
    if (request_ != nullptr) {
      pending.emplace(request_);
    } else {
      pending.emplace(factory_);
    }
    FillResponse(pending->get(), request_, response, payloads, facts_->states, facts_->instance_name);
    pending->Send(flags, nullptr);
  } catch (const ipc::ProtocolError&) {
    closed_ = false;  // whoever ends the stub tells the client
    --responses_;
    throw;
  } catch (const std::exception& error) {
    SendError(ipc::Code::kInternal,
              "Failed to process the request(s) for model '" + facts_->instance_name +
                  "', message: " + error.what(),
              flags);
  }
}

bool Responder::SendFinal() noexcept {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(closed_, true)) {
    return false;
  }
  try {
    if (factory_ == nullptr) {
      Check(triton::Api().TRITONBACKEND_ResponseFactoryNew(&factory_, request_));
    }
    Check(
        triton::Api().TRITONBACKEND_ResponseFactorySendFlags(factory_, TRITONSERVER_RESPONSE_COMPLETE_FINAL));
  } catch (const std::exception& error) {
    Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__,
        "Unable to end the responses of a request of '" + facts_->instance_name + "': " + error.what());
  }
  return true;
}

bool Responder::Fail(ipc::Code code, const std::string& message) noexcept {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) {
      return false;
    }
    if (MayRespond()) {
      closed_ = true;
      ++responses_;
      SendError(code, message, TRITONSERVER_RESPONSE_COMPLETE_FINAL);
      return true;
    }
  }
  return SendFinal();  // the client has its one response
}

void Responder::SendError(ipc::Code code, const std::string& message, std::uint32_t flags) noexcept {
  TRITONSERVER_Error* const error = NewTritonError(code, message);
  try {
    std::optional<PendingResponse> pending;
    if (request_ != nullptr) {
      pending.emplace(request_);
    } else {
      pending.emplace(factory_);
    }
    pending->Send(flags, error);
  } catch (const std::exception& failure) {
    Log(TRITONSERVER_LOG_ERROR, __FILE__, __LINE__,
        "Unable to send an error response for '" + facts_->instance_name + "': " + failure.what());
  }
  triton::Api().TRITONSERVER_ErrorDelete(error);
}

void Responder::Detach() {
  const std::scoped_lock lock(mutex_);
  if (factory_ == nullptr) {
    Check(triton::Api().TRITONBACKEND_ResponseFactoryNew(&factory_, request_));
  }
  request_ = nullptr;
}

void Responder::Retire() noexcept {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  request_ = nullptr;
}

bool Responder::closed() const noexcept {
  const std::scoped_lock lock(mutex_);
  return closed_;
}

bool Responder::IsCancelled() const noexcept {
  const std::scoped_lock lock(mutex_);
  bool cancelled = false;
  if (closed_) {
    return false;
  }
  const auto& api = triton::Api();
  LogFailure(request_ != nullptr ? api.TRITONBACKEND_RequestIsCancelled(request_, &cancelled)
                                 : api.TRITONBACKEND_ResponseFactoryIsCancelled(factory_, &cancelled),
             "Unable to ask whether a request was cancelled");
  return cancelled;
}

}  // namespace tpb::backend
