// `triton_python_backend_utils._core`. numpy is imported when a model first touches an array, not here: the
// server is to hear from a new process as soon as possible.
#include <pybind11/pybind11.h>

#include "stub/bindings.h"

namespace {

// Models, pickles and error texts know the classes by the name of this module.
constexpr char kPublicModule[] = "c_python_backend_utils";

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled part of triton_python_backend_utils.";
  module.attr("__version__") = TPB_VERSION;
  module.attr("__module__") = kPublicModule;  // what pybind11 asks a scope for, rather than for its name
  tpb::stub::BindErrors(module);
  tpb::stub::BindTensor(module);
  tpb::stub::BindMemory(module);  // before what has defaults of its types
  tpb::stub::BindRequest(module);
  tpb::stub::BindResponse(module);
  tpb::stub::BindResponseSender(module);
  tpb::stub::BindBls(module);
  tpb::stub::BindBytes(module);
  tpb::stub::BindLogger(module);
  tpb::stub::BindMetrics(module);
  tpb::stub::BindModelControl(module);
  tpb::stub::BindAttachment(module);
  pybind11::delattr(module, "__module__");
}
