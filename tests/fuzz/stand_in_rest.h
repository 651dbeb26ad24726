// What fuzz_conversation needs of a core beyond tests/cpp/backend: whether clients have gone, and that
// nothing of core's is left.
#pragma once

#include "tests/cpp/backend/stand_in_core.h"

namespace tpb::fuzz {

// Core's view of whether a client has gone; nobody has, in the beginning.
void SetCancelled(const TRITONBACKEND_Request* request);
void ForgetCancelled();

// Metrics, families, parameters, factories and states that core would hold memory for.
int AliveInCore();

}  // namespace tpb::fuzz
