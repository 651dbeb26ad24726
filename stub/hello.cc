#include "stub/hello.h"

#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

#include "ipc/handshake.h"

namespace tpb::stub {

void SayHello(int socket) {
  const std::string_view full = Py_GetVersion();  // "3.11.7 (main, …) [GCC …]"
  ipc::SendStubHello(socket, {.package = TPB_VERSION, .python = std::string(full.substr(0, full.find(' ')))});
}

}  // namespace tpb::stub
