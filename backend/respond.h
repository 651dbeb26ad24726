// What the stub answered -> Triton's responses.
#pragma once

#include <string>

#include "backend/batch.h"
#include "backend/payloads.h"
#include "ipc/messages.h"

namespace tpb::backend {

// Adds the outputs and parameters of `answer`. Throws ipc::Error for what core refuses, and ProtocolError for
// a lie.
void FillResponse(TRITONBACKEND_Response* response, const ipc::Response& answer, const Payloads& payloads,
                  const std::string& instance_name);

// Sends the response to one request, copying its outputs into the buffers that core gives. Whatever goes
// wrong becomes that request's error, but for a ProtocolError: then the stub has lied, and the rest of its
// answer is worth nothing.
void Respond(Batch& batch, Batch::Item& item, const ipc::Response& answer, const Payloads& payloads,
             const std::string& instance_name);

}  // namespace tpb::backend
