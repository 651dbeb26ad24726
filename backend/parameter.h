// Parameters as core gives them -> as they travel.
#pragma once

#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

// Views into `name` and `value`. Throws ipc::Error for a type that models do not know.
ipc::Parameter MakeParameter(const char* name, TRITONSERVER_ParameterType type, const void* value);

}  // namespace tpb::backend
