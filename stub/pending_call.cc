#include "stub/pending_call.h"

#include <cstddef>
#include <string>
#include <utility>

#include "ipc/error.h"
#include "ipc/messages.h"
#include "stub/gil.h"
#include "stub/orphans.h"
#include "stub/responses.h"

namespace tpb::stub {
namespace {

using ipc::Code;
using ipc::Error;

// The inputs as they are now. `blocks` holds the copies, `answers` what passes through.
struct Inputs {
  std::vector<Answer> answers;  // one, whose outputs are the inputs
  std::vector<ipc::Block> blocks;
};

Inputs Snapshot(const InferenceRequest& request, Connection& connection) {
  Inputs inputs;
  Answer& all = inputs.answers.emplace_back();
  all.outputs.reserve(request.inputs().size());
  for (const auto& tensor : request.inputs()) {
    Output& output = all.outputs.emplace_back();
    output.name = tensor->name();
    if (auto lent = tensor->Lend(*connection.book()); lent) {
      output.payload = std::move(*lent);
      output.passed_through = output.payload.lease.get();
    } else {
      output.payload = tensor->Contents();
    }
  }
  inputs.blocks = CopyOutputs(*connection.channel().arena(), inputs.answers);
  return inputs;
}

// A block of an answer, for as long as it is read.
std::shared_ptr<Lease> TakeLease(Connection& connection, const ipc::LeaseRecord& record) {
  auto lease = std::make_shared<Lease>(connection.book(), record);
  lease->Keep();  // the server waits for its release
  return lease;
}

std::shared_ptr<InferenceResponse> ToResponse(const ipc::Response& response,
                                              const std::vector<std::shared_ptr<Lease>>& leases) {
  if (response.kind == ipc::ResponseKind::kError) {
    return FailedResponse(response.code, std::string(response.text));
  }
  auto made = std::make_shared<InferenceResponse>(MakeTensors(response.outputs, leases), nullptr,
                                                  ParametersFromWire(response.parameters));
  if (response.kind == ipc::ResponseKind::kNone) {
    made->MarkEnd();
  }
  return made;
}

std::string NoRoom(std::uint64_t wanted) {
  return "Failed to increase the shared memory pool size: the server's side has no room for an answer of " +
         std::to_string(wanted) +
         " bytes. Let go of tensors that the model keeps, or raise "
         "--backend-config=python,shm-max-byte-size";
}

}  // namespace

std::shared_ptr<InferenceResponse> FailedResponse(Code code, std::string text) {
  return std::make_shared<InferenceResponse>(std::vector<std::shared_ptr<Tensor>>(),
                                             std::make_shared<TritonError>(std::move(text), code),
                                             Parameters());
}

PendingCall::PendingCall(const InferenceRequest& request, std::shared_ptr<Connection> connection,
                         std::uint32_t flags)
    : connection_(std::move(connection)) {
  connection_->orphans().Reap();
  Inputs inputs = Snapshot(request, *connection_);
  ipc::Call call = request.ToCall();
  for (const auto& input : inputs.answers.front().outputs) {
    call.request.inputs.push_back(ToWire(input));
    if (input.passed_through != nullptr) {
      lent_.push_back(input.payload.lease);
    }
  }
  call.flags = flags;
  {
    const GilReleased no_gil;
    call_ = std::make_unique<OpenCall>(*connection_);
  }
  call.slot = call_->slot();
  ipc::Encode(call, body_);
  call_->Hold(std::move(inputs.blocks));
}

PendingCall::~PendingCall() {
  if (!call_ || !sent_ || done_) {
    return;
  }
  connection_->orphans().Adopt(std::move(call_), std::move(lent_));
}

void PendingCall::Send() {
  const GilReleased no_gil;
  sent_ = true;
  try {
    call_->Send(body_.bytes());
  } catch (...) {
    sent_ = false;
    throw;
  }
}

void PendingCall::Poll() {
  while (!done_) {
    const auto posted = call_->Peek();
    if (!posted) {
      return;
    }
    TakeAnswer(*posted);
  }
}

void PendingCall::Wait() {
  if (done_) {
    return;
  }
  const GilReleased no_gil;
  call_->Await();
}

void PendingCall::Cancel() {
  if (!done_ && sent_) {
    call_->Cancel(0);
  }
}

void PendingCall::TakeAnswer(const ipc::Posted& posted) {
  if (posted.no_room) {
    responses_.push_back(FailedResponse(Code::kInternal, NoRoom(posted.wanted)));
    Finish();
    return;
  }
  const auto body =
      TakeLease(*connection_, {.lease = posted.lease, .offset = posted.offset, .size = posted.size});
  const std::vector<std::byte> copy(body->bytes().begin(), body->bytes().end());
  const ipc::CallAnswer answer = ipc::DecodeCallAnswer(copy);
  std::vector<std::shared_ptr<Lease>> leases;
  leases.reserve(answer.leases.size());
  for (const auto& record : answer.leases) {
    leases.push_back(TakeLease(*connection_, record));
  }
  for (const auto& response : answer.responses) {
    responses_.push_back(ToResponse(response, leases));
  }
  if (answer.last) {
    Finish();
  } else {
    call_->Advance();
  }
}

void PendingCall::Finish() noexcept {
  done_ = true;
  call_->SetDone();
  call_.reset();
  lent_.clear();
}

}  // namespace tpb::stub
