// The way to answer one request that a response sender of the model answers, wholly or in part: during its
// batch, and after core has the request back.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "backend/payloads.h"
#include "backend/state.h"
#include "ipc/error.h"
#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

// What all responders of an instance have in common.
struct ResponderFacts {
  std::string instance_name;
  bool decoupled = false;
  StateOutputs states;
};

// Every thread may use it. The service thread sends what the stub asks for; the thread that executes the
// batch decides what becomes of the request.
class Responder {
 public:
  // `request` is ours until Detach() or Retire().
  Responder(TRITONBACKEND_Request* request, std::shared_ptr<const ResponderFacts> facts);
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;
  Responder(Responder&&) = delete;
  Responder& operator=(Responder&&) = delete;
  ~Responder();

  // Sends a response, the last one if `final`. Whatever goes wrong with it becomes an error for the client,
  // but for a ProtocolError: the stub has lied. False when the last one was sent before.
  bool Send(const ipc::Response& response, const Payloads& payloads, bool final);

  // Tells the client that nothing more comes. False as above.
  bool SendFinal() noexcept;

  // An error, and nothing more comes. False as above.
  bool Fail(ipc::Code code, const std::string& message) noexcept;

  // Core is about to get the request back, and responses may still come. Throws ipc::Error when core cannot
  // do that.
  void Detach();

  // Core is about to get the request back, and nobody answers any more.
  void Retire() noexcept;

  [[nodiscard]] bool closed() const noexcept;
  [[nodiscard]] const ResponderFacts& facts() const noexcept { return *facts_; }

  // The client does not want the answer any more.
  [[nodiscard]] bool IsCancelled() const noexcept;

 private:
  void SendLocked(const ipc::Response& response, const Payloads& payloads, std::uint32_t flags);
  void SendError(ipc::Code code, const std::string& message, std::uint32_t flags) noexcept;
  [[nodiscard]] bool MayRespond() const noexcept { return facts_->decoupled || responses_ == 0; }

  const std::shared_ptr<const ResponderFacts> facts_;  // shared with the others of the instance
  mutable std::mutex mutex_;
  TRITONBACKEND_Request* request_;                    // null once core has it back
  TRITONBACKEND_ResponseFactory* factory_ = nullptr;  // from Detach() on
  std::uint64_t responses_ = 0;
  bool closed_ = false;
};

}  // namespace tpb::backend
