// The control of models, as core offers it.
#pragma once

#include <cstdint>

#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend::control {

// Does what a kLoadModel, kUnloadModel or kIsModelReady asks for, which may take as long as a model takes to
// load. Throws ipc::Error with what core says.
std::uint64_t AskCore(TRITONSERVER_Server* server, const ipc::Ask& ask);

}  // namespace tpb::backend::control
