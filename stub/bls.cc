#include "stub/bls.h"

#include <optional>
#include <utility>

#include "ipc/error.h"
#include "ipc/wire.h"
#include "stub/connection.h"

namespace tpb::stub {
namespace {

using ipc::Code;
using ipc::Error;

// Throws Error outside of execute; so does a server that refuses a forked child, with another code.
std::shared_ptr<Connection> AllowedConnection() {
  const auto connection = Connection::Current();
  return connection && connection->calls_allowed() ? connection : nullptr;
}

[[noreturn]] void RefuseOutsideExecute() {
  throw Error(Code::kInternal, "BLS is only supported during the 'execute' function.");
}

// Runs `work` with a connection; its Error is given to `failed`.
template <typename Work, typename Failed>
auto WithConnection(Work&& work, Failed&& failed) {
  std::optional<Error> failure;
  try {
    if (const auto connection = AllowedConnection()) {
      return work(connection);
    }
  } catch (const Error& error) {
    failure = error;
  }
  if (!failure) {
    RefuseOutsideExecute();
  }
  return failed(*failure);
}

std::uint32_t Blocks() noexcept { return Connection::IsServingHere() ? std::uint32_t{ipc::kCallBlocks} : 0U; }

}  // namespace

std::shared_ptr<InferenceResponse> NoInference(const InferenceRequest& request, const Error& error) {
  return FailedResponse(
      error.code(), "Model " + request.model_name() + " - Error when running inference: " + error.message());
}

std::shared_ptr<InferenceResponse> RunInference(const InferenceRequest& request) {
  return WithConnection(
      [&](const std::shared_ptr<Connection>& connection) {
        PendingCall call(request, connection, Blocks());
        call.Send();
        while (!call.done()) {
          call.Wait();
          call.Poll();
        }
        if (call.responses().empty()) {
          throw Error(Code::kInternal, "Unexpected empty response.");
        }
        return call.responses().front();
      },
      [&](const Error& error) { return NoInference(request, error); });
}

std::shared_ptr<ResponseIterator> StreamInference(const InferenceRequest& request) {
  return WithConnection(
      [&](const std::shared_ptr<Connection>& connection) {
        auto call = std::make_shared<PendingCall>(request, connection, ipc::kCallDecoupled);
        call->Send();
        return std::make_shared<ResponseIterator>(std::move(call));
      },
      [&](const Error& error) { return std::make_shared<ResponseIterator>(NoInference(request, error)); });
}

Prepared PrepareInference(const InferenceRequest& request, bool decoupled) {
  return WithConnection(
      [&](const std::shared_ptr<Connection>& connection) {
        const std::uint32_t flags = ipc::kCallRings | (decoupled ? ipc::kCallDecoupled : 0U);
        return Prepared{.connection = connection,
                        .call = std::make_shared<PendingCall>(request, connection, flags),
                        .failure = nullptr};
      },
      [&](const Error& error) {
        return Prepared{.connection = nullptr, .call = nullptr, .failure = NoInference(request, error)};
      });
}

std::shared_ptr<InferenceResponse> ResponseIterator::Next() {
  while (next_ >= responses().size()) {
    if (!call_ || call_->done()) {
      ended_ = true;
      return nullptr;
    }
    call_->Wait();
    call_->Poll();
  }
  return responses()[next_++];
}

void ResponseIterator::RewindAtEnd() noexcept {
  if (std::exchange(ended_, false)) {
    next_ = 0;
  }
}

void ResponseIterator::Cancel() {
  if (call_) {
    call_->Cancel();
  }
}

}  // namespace tpb::stub
