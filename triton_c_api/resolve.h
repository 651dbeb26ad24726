// Fills the tables of functions.h from the libtritonserver at hand.
//
// A backend library is called by exactly one libtritonserver, and that is the one it must call back: not any
// other that the process may have loaded. So every entry point begins with
//
//     const tpb::triton::Functions& api = tpb::triton::Resolve(__builtin_return_address(0));
//
// and what it calls uses tpb::triton::Api(). The table is the only mutable static of the library. It is
// filled once, by the first caller, and has no destructor: server threads may still call while the process
// exits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "triton_c_api/functions.h"

namespace tpb::triton {

// The functions of the libtritonserver that contains the address. Looked for, in this order: the object at
// the address and what that object links; the global scope; the one loaded object that exports them. After
// the first call, from whatever thread, this costs a load and a branch, and the address no longer matters
// (CheckCaller).
const Functions& Resolve(const void* return_address);

// The table that the first Resolve filled.
const Functions& Api();

// Why this library cannot serve the libtritonserver that contains the address: nothing found, functions
// missing, or the table is that of another libtritonserver. Empty when all is well. Resolves if nothing did
// so before.
std::string ResolveError(const void* return_address);

// ResolveError as an error that the entry point returns, made by the caller's own library, which will delete
// it; null when all is well. For the rare entry points (Initialize): it looks the caller up every time. A
// caller without TRITONSERVER_ErrorNew cannot be told anything and would take null for success: the reason is
// then printed and the process ends.
TRITONSERVER_Error* CheckCaller(const void* return_address);

// For a program that opened libtritonserver itself: `library` is dlopen's handle and must stay open as long
// as the table is used. Functions that the library lacks are null.
Functions LoadFunctions(void* library);
ServerFunctions LoadServerFunctions(void* library);

// The names of the null members that are not optional.
std::vector<std::string_view> MissingNames(const Functions& functions);
std::vector<std::string_view> MissingNames(const ServerFunctions& functions);

}  // namespace tpb::triton
