// From what a model's execute returned to the message that answers its batch.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ipc/arena.h"
#include "ipc/messages.h"
#include "stub/parameters.h"
#include "stub/requests.h"
#include "stub/response.h"
#include "stub/tensor.h"

namespace tpb::stub {

struct Output {
  std::string name;
  Payload payload;
  const Lease* passed_through =
      nullptr;               // lies in a block of this batch and goes out from there, without a copy
  std::uint64_t offset = 0;  // of the copy, in the stub's arena
};

// To one request. A value: whatever the model does to its response afterwards changes nothing here.
struct Answer {
  ipc::ResponseKind kind = ipc::ResponseKind::kNone;
  ipc::Code code = ipc::Code::kInternal;
  std::string text;
  std::vector<Output> outputs;
  Parameters parameters;
};

// What a response says to a request for these outputs; others are left out.
Answer ReadAnswer(const InferenceResponse& response, const std::vector<std::string>& requested_outputs,
                  const std::vector<std::string>& state_outputs);

// Why what execute of a decoupled model returned is wrong.
std::string NotNone(const std::string& instance_name);

// One answer per request of the batch, from `batch.returned`. Outputs that a request did not ask for are left
// out, but for those that are states. Throws Error, with the text that clients know, when execute returned
// anything but what it should.
std::vector<Answer> ReadAnswers(const Batch& batch);

// What becomes of the requests without an answer: their senders have closed or may still answer, or core is
// to give them to the model again. Every other sender is closed.
void SettleSenders(Batch& batch, std::vector<Answer>& answers);

// Decides which outputs pass through, drops the objects of the batch when any of them might hold a lease, and
// returns the leases that the model keeps. From here on the answers hold no lease of the batch.
std::vector<std::uint64_t> SettleLeases(Batch& batch, std::vector<Answer>& answers);

// Copies the outputs that do not pass through into `arena`. Answers that do not fit become errors; throws
// ipc::ArenaFull for the only one.
std::vector<ipc::Block> CopyOutputs(ipc::Arena& arena, std::vector<Answer>& answers);

// Views into `output`, whose copy has its place.
ipc::Tensor ToWire(const Output& output);

// Views into `answers`.
std::vector<ipc::Response> ToWire(const std::vector<Answer>& answers);

}  // namespace tpb::stub
