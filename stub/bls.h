// Calls from a model to other models of the same server (BLS).
#pragma once

#include <memory>

#include "stub/request.h"
#include "stub/response.h"

namespace tpb::stub {

// Runs `request` and waits for its response, without the GIL; any thread, with the GIL held at the start and
// at the end. The tensors go as they are now. What goes wrong on the way, or in the other model, is a
// response with an error. Throws Error outside of execute.
std::shared_ptr<InferenceResponse> RunInference(const InferenceRequest& request);

}  // namespace tpb::stub
