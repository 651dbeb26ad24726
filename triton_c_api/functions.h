// The C API as tables of pointers. Nothing here links against libtritonserver: a backend is loaded by hosts
// that open it RTLD_LOCAL and under a changed file name, so its functions are looked up at run time
// (resolve.h).
//
// A member has the official name of its function: `api.TRITONBACKEND_ModelName(model, &name)`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "triton_c_api/types.h"

namespace tpb::triton {

// NOLINTNEXTLINE(bugprone-macro-parentheses): a type and a list of parameters cannot stand in parentheses.
#define TPB_FUNCTION(result, name, parameters) result(*name) parameters = nullptr;

// What a backend calls.
struct Functions {
#include "triton_c_api/backend_functions.inc"
};

// What a program that embeds a server calls beside those.
struct ServerFunctions {
#include "triton_c_api/server_functions.inc"
};

#undef TPB_FUNCTION

}  // namespace tpb::triton
