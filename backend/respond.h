// What the stub answered -> Triton's responses.
#pragma once

#include <string>

#include "backend/batch.h"
#include "backend/payloads.h"
#include "backend/state.h"
#include "ipc/messages.h"

namespace tpb::backend {

// Adds the outputs and parameters of `answer`, and gives its states to core, as long as the request is ours:
// `request` is null afterwards. Throws ipc::Error for what core refuses, and ProtocolError for a lie.
void FillResponse(TRITONBACKEND_Response* response, TRITONBACKEND_Request* request,
                  const ipc::Response& answer, const Payloads& payloads, const StateOutputs& states,
                  const std::string& instance_name);

// Sends the response to one request, copying its outputs into the buffers that core gives, those that are
// states of a sequence into its state. Whatever goes
// wrong becomes that request's error, but for a ProtocolError: then the stub has lied, and the rest of its
// answer is worth nothing.
void Respond(Batch& batch, Batch::Item& item, const ipc::Response& answer, const Payloads& payloads,
             const StateOutputs& states, const std::string& instance_name);

}  // namespace tpb::backend
