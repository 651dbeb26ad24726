// Every name of the C API as a symbol, for the stand-in that lacks nothing. None is ever called: the tests
// compare addresses. Weak, so that the definitions of stand_in_server.cc win.
#define TPB_FUNCTION(result, name, parameters) \
  extern "C" __attribute__((weak, visibility("default"))) void name() { __builtin_trap(); }
#include "triton_c_api/backend_functions.inc"
#include "triton_c_api/server_functions.inc"
#undef TPB_FUNCTION
