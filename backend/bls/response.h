// Core's response to a call -> the message that answers it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "backend/bls/output_buffers.h"
#include "backend/leases.h"
#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend::bls {

struct Answer {
  std::vector<std::byte> body;           // an encoded ipc::CallAnswer
  std::vector<ipc::LeaseRecord> leases;  // of the blocks that it names: the caller's from here on
};

// The outputs stay in the blocks that core has filled, which become leases. An error of the other model keeps
// its code and its text. Throws ipc::Error for what a message cannot say; then there are no leases.
Answer ReadResponse(TRITONSERVER_InferenceResponse* response, OutputBuffers& buffers, Leases& leases);

std::vector<std::byte> ErrorAnswer(ipc::Code code, const std::string& text);

}  // namespace tpb::backend::bls
