#include "backend/batch.h"

#include <ctime>

#include "backend/triton_error.h"

namespace tpb::backend {

std::uint64_t NowNs() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

Batch::Batch(TRITONBACKEND_ModelInstance* instance, std::span<TRITONBACKEND_Request* const> requests)
    : instance_(instance) {
  times_.start = NowNs();
  items_.reserve(requests.size());
  for (TRITONBACKEND_Request* request : requests) {
    items_.push_back({.request = request});
  }
}

Batch::~Batch() {
  FailRest(ipc::Code::kInternal, "The Python backend did not answer this request.");
  Report();
  for (Item& item : items_) {
    Release(item);
  }
}

void Batch::Release(Item& item) noexcept {
  const auto& api = triton::Api();
  if (item.responder && !item.open) {
    item.responder->Retire();
  }
  if (item.rescheduled) {
    TRITONSERVER_Error* refused =
        api.TRITONBACKEND_RequestRelease(item.request, TRITONSERVER_REQUEST_RELEASE_RESCHEDULE);
    if (refused == nullptr) {
      return;
    }
    const std::string why = api.TRITONSERVER_ErrorMessage(refused);
    LogFailure(refused, "Failed to release request");
    item.answered = false;
    item.responder = nullptr;
    Fail(item, ipc::Code::kInternal, "The model wants this request again, but the server refuses: " + why);
  }
  if (late_ != nullptr) {
    late_->Add(item.request);
  } else {
    ReleaseNow(item.request);
  }
}

void Batch::Fail(Item& item, ipc::Code code, const std::string& message) noexcept {
  if (item.answered) {
    return;
  }
  item.answered = true;
  item.succeeded = false;
  if (item.responder) {
    item.responder->Fail(code, message);
    return;
  }
  const auto& api = triton::Api();
  TRITONBACKEND_Response* response = nullptr;
  TRITONSERVER_Error* failure = api.TRITONBACKEND_ResponseNew(&response, item.request);
  if (failure != nullptr) {
    LogFailure(failure, "Unable to create an error response");
    return;
  }
  TRITONSERVER_Error* error = NewTritonError(code, message);
  LogFailure(api.TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error),
             "Unable to send an error response");
  api.TRITONSERVER_ErrorDelete(error);
}

void Batch::FailRest(ipc::Code code, const std::string& message) noexcept {
  for (Item& item : items_) {
    Fail(item, code, message);
  }
}

void Batch::Report() noexcept {
  const auto& api = triton::Api();
  // A batch that failed on the way has not reached every moment.
  times_.end = NowNs();
  times_.compute_start = times_.compute_start == 0 ? times_.end : times_.compute_start;
  times_.compute_end = times_.compute_end == 0 ? times_.end : times_.compute_end;
  for (const Item& item : items_) {
    LogFailure(
        api.TRITONBACKEND_ModelInstanceReportStatistics(instance_, item.request, item.succeeded, times_.start,
                                                        times_.compute_start, times_.compute_end, times_.end),
        "Unable to report statistics");
  }
  if (executed_ != 0) {
    LogFailure(api.TRITONBACKEND_ModelInstanceReportBatchStatistics(
                   instance_, executed_, times_.start, times_.compute_start, times_.compute_end, times_.end),
               "Unable to report batch statistics");
  }
}

}  // namespace tpb::backend
