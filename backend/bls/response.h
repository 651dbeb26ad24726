// Core's responses to a call -> the parts of the messages that answer it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "backend/bls/output_buffers.h"
#include "backend/leases.h"
#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend::bls {

// One response, as the stub will read it.
struct Taken {
  std::vector<std::byte> body;           // an encoded ipc::Response
  std::vector<ipc::LeaseRecord> leases;  // of the blocks that it names: the caller's from here on
};

// The outputs stay in the blocks that core has filled, which become leases. An error of the other model keeps
// its code and its text. Throws ipc::Error for what a message cannot say; then there are no leases.
Taken ReadResponse(TRITONSERVER_InferenceResponse* response, OutputBuffers& buffers, Leases& leases);

Taken ErrorResponse(ipc::Code code, const std::string& text);

// What a caller gets when a stream ends with nothing but its end.
Taken EmptyResponse();

}  // namespace tpb::backend::bls
