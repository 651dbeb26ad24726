// The functions that a backend library exports and Triton's core calls. The library is built with hidden
// visibility, so this header alone decides what it exports.
//
// Only TRITONBACKEND_ModelInstanceExecute is mandatory; core looks the others up and skips what is absent.
// noexcept: an exception must never unwind into core.
#pragma once

#include <cstdint>

#include "triton_c_api/types.h"

#pragma GCC visibility push(default)
extern "C" {

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend) noexcept;
TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* backend) noexcept;
TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend* backend,
                                                      TRITONBACKEND_BackendAttribute* attributes) noexcept;

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) noexcept;
TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) noexcept;

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) noexcept;
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance) noexcept;

// An error returned from here says that the backend keeps none of the requests; null, that it owns them all.
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests,
                                                       const uint32_t request_count) noexcept;

// Asked for by Triton 25.12 and later; earlier versions never look it up.
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReady(TRITONBACKEND_ModelInstance* instance) noexcept;

}  // extern "C"
#pragma GCC visibility pop
