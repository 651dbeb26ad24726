// The two halves of `_ipc_testing`.
#pragma once

#include <pybind11/pybind11.h>

namespace tpb::testing {

// encode_execute(dict) -> bytes, decode_execute(bytes) -> dict, and the same for load and reply.
void BindMessages(pybind11::module_& module);

}  // namespace tpb::testing
