#include "stub/bls.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ipc/codec.h"
#include "ipc/error.h"
#include "ipc/messages.h"
#include "stub/connection.h"
#include "stub/gil.h"
#include "stub/responses.h"
#include "stub/slot_holder.h"

namespace tpb::stub {
namespace {

using ipc::Code;
using ipc::Error;

// The inputs as they are now. `blocks` holds the copies, `answers` what passes through: until the call is
// answered.
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

ipc::Posted Exchange(Connection& connection, ipc::Call& call) {
  const GilReleased no_gil;
  SlotHolder holder(connection);
  call.slot = holder.index();
  ipc::Writer body;
  ipc::Encode(call, body);
  ipc::Slot event{};
  event.kind = static_cast<std::uint32_t>(ipc::MessageKind::kCall);
  event.id = connection.NextCallId();
  auto blocks = ipc::PutBody(*connection.channel().arena(), body.bytes(), event);
  connection.PushEvent(event, blocks);
  const auto posted =
      connection.call_slots().Await(holder.index(), event.id, [&] { return connection.Gone(); });
  if (!posted) {
    throw Error(Code::kUnavailable, "the server is gone");
  }
  holder.SetAnswered();
  return *posted;
}

std::shared_ptr<InferenceResponse> Failed(Code code, std::string text) {
  return std::make_shared<InferenceResponse>(std::vector<std::shared_ptr<Tensor>>(),
                                             std::make_shared<TritonError>(std::move(text), code),
                                             Parameters());
}

// The block of the answer's body, for as long as it is read.
std::shared_ptr<Lease> TakeLease(Connection& connection, const ipc::LeaseRecord& record) {
  auto lease = std::make_shared<Lease>(connection.book(), record);
  lease->Keep();  // the server waits for its release
  return lease;
}

std::shared_ptr<InferenceResponse> ReadResponse(Connection& connection, const ipc::Posted& posted) {
  if (posted.no_room) {
    throw Error(Code::kInternal,
                "Failed to increase the shared memory pool size: the server's side has no "
                "room for an answer of " +
                    std::to_string(posted.wanted) +
                    " bytes. Let go of tensors that the model keeps, or raise "
                    "--backend-config=python,shm-max-byte-size");
  }
  const auto body =
      TakeLease(connection, {.lease = posted.lease, .offset = posted.offset, .size = posted.size});
  const std::vector<std::byte> copy(body->bytes().begin(), body->bytes().end());
  const ipc::CallAnswer answer = ipc::DecodeCallAnswer(copy);
  std::vector<std::shared_ptr<Lease>> leases;
  for (const auto& record : answer.leases) {
    leases.push_back(TakeLease(connection, record));
  }
  const ipc::Response& response = answer.response;
  if (response.kind != ipc::ResponseKind::kTensors) {
    return Failed(response.code, std::string(response.text));
  }
  return std::make_shared<InferenceResponse>(MakeTensors(response.outputs, leases), nullptr,
                                             ParametersFromWire(response.parameters));
}

std::shared_ptr<InferenceResponse> Run(const InferenceRequest& request, Connection& connection) {
  Inputs inputs = Snapshot(request, connection);
  ipc::Call call = request.ToCall();
  for (const auto& input : inputs.answers.front().outputs) {
    call.request.inputs.push_back(ToWire(input));
  }
  const ipc::Posted posted = Exchange(connection, call);
  inputs.blocks.clear();
  return ReadResponse(connection, posted);
}

}  // namespace

std::shared_ptr<InferenceResponse> RunInference(const InferenceRequest& request) {
  std::optional<Error> failure;
  bool allowed = true;
  try {
    const auto connection = Connection::Current();
    allowed = connection && connection->calls_allowed();
    if (allowed) {
      return Run(request, *connection);
    }
  } catch (const Error& error) {
    failure = error;
  }
  if (!allowed) {
    throw Error(Code::kInternal, "BLS is only supported during the 'execute' function.");
  }
  return Failed(failure->code(),
                "Model " + request.model_name() + " - Error when running inference: " + failure->message());
}

}  // namespace tpb::stub
