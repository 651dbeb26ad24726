#include "backend/bls/gateway.h"

#include <chrono>
#include <utility>

#include "backend/bls/output_buffers.h"
#include "backend/triton_error.h"

namespace tpb::backend::bls {

Gateway::Gateway(TRITONSERVER_Server* server, std::shared_ptr<Waits> waits)
    : server_(server), allocator_(OutputBuffers::NewAllocator()), waits_(std::move(waits)) {}

Gateway::~Gateway() {
  waits_->Remove(this);
  LogFailure(triton::Api().TRITONSERVER_ResponseAllocatorDelete(allocator_), "Unable to delete an allocator");
}

// Not ServerModelIsReady in the first place: newer cores ask the model itself from there, which may take its
// time, and this runs on a thread that may not wait.
void Gateway::CheckModel(const std::string& name, std::int64_t version, bool decoupled) const {
  const auto& api = triton::Api();
  std::uint32_t flags = 0;
  TRITONSERVER_Error* not_served =
      api.TRITONSERVER_ServerModelTransactionProperties(server_, name.c_str(), version, &flags, nullptr);
  if (not_served != nullptr) {
    api.TRITONSERVER_ErrorDelete(not_served);
    bool ready = false;
    Check(api.TRITONSERVER_ServerModelIsReady(server_, name.c_str(), version, &ready));
    throw ipc::Error(ipc::Code::kNotFound,
                     "Failed for execute the inference request. Model '" + name + "' is not ready.");
  }
  if (!decoupled && (flags & TRITONSERVER_TXN_DECOUPLED) != 0) {
    throw ipc::Error(ipc::Code::kUnsupported,
                     "Model " + name +
                         " is using the decoupled. The current BLS request call doesn't support models using "
                         "the decoupled transaction policy. Please use 'decoupled=True' argument to the "
                         "'exec' or 'async_exec' calls for decoupled models.'");
  }
}

void Gateway::BeginWait(const std::string& model) const {
  if (const auto way = waits_->Enter(this, model)) {
    throw ipc::Error(
        ipc::Code::kUnavailable,
        "this call can only wait for itself: " + *way +
            ", and no instance on the way is free. Raise the count of one of these models in its "
            "instance_group, or make one of the calls without waiting for it in execute()");
  }
}

void Gateway::Enter() noexcept {
  const std::scoped_lock lock(mutex_);
  ++calls_;
}

void Gateway::Leave() noexcept {
  const std::scoped_lock lock(mutex_);
  if (--calls_ == 0) {
    none_left_.notify_all();
  }
}

bool Gateway::TakeForCopies(std::uint64_t bytes, std::uint64_t limit) noexcept {
  const std::scoped_lock lock(mutex_);
  if (copies_ > limit || bytes > limit - copies_) {
    return false;
  }
  copies_ += bytes;
  return true;
}

void Gateway::ReturnFromCopies(std::uint64_t bytes) noexcept {
  const std::scoped_lock lock(mutex_);
  copies_ -= bytes;
}

void Gateway::AwaitNone(ipc::Deadline deadline) noexcept {
  std::unique_lock lock(mutex_);
  none_left_.wait_for(lock, deadline.Left(std::chrono::hours(24)), [this] { return calls_ == 0; });
}

}  // namespace tpb::backend::bls
