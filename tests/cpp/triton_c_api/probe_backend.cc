// A library that resolves the C API from its caller, as the entry points of a backend do.
#include "probe_backend.h"

#include "triton_c_api/resolve.h"

extern "C" __attribute__((visibility("default"))) void ProbeResolve(void* report) {
  auto* out = static_cast<ResolveReport*>(report);
  out->resolved = &tpb::triton::Resolve(__builtin_return_address(0));
  out->api = &tpb::triton::Api();
  out->error = tpb::triton::ResolveError(__builtin_return_address(0));
}

extern "C" __attribute__((visibility("default"))) void ProbeCheck(void* report) {
  static_cast<CheckReport*>(report)->error = tpb::triton::CheckCaller(__builtin_return_address(0));
}
