#include <array>
#include <memory>
#include <string>
#include <utility>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/response.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Code;

constexpr std::array<std::pair<const char*, Code>, 8> kCodes{{{"UNKNOWN", Code::kUnknown},
                                                              {"INTERNAL", Code::kInternal},
                                                              {"NOT_FOUND", Code::kNotFound},
                                                              {"INVALID_ARG", Code::kInvalidArg},
                                                              {"UNAVAILABLE", Code::kUnavailable},
                                                              {"UNSUPPORTED", Code::kUnsupported},
                                                              {"ALREADY_EXISTS", Code::kAlreadyExists},
                                                              {"CANCELLED", Code::kCancelled}}};

}  // namespace

void BindErrors(py::module_& module) {
  // Every Error that a binding throws becomes one; models raise it as well.
  const auto& exception = py::register_local_exception<ipc::Error>(module, "TritonModelException");
  exception.attr("__module__") = module.attr("__module__");
  module.attr("TritonInferenceException") = exception;  // documentation of models has called it so

  py::class_<TritonError, std::shared_ptr<TritonError>> error(module, "TritonError");
  py::enum_<Code> codes(error, "__ErrorCode");
  for (const auto& [name, code] : kCodes) {
    codes.value(name, code);
    error.def_property_readonly_static(name, [code = code](const py::object& /*type*/) { return code; });
  }
  error.def(py::init<std::string, Code>(), py::arg("message"), py::arg("code") = Code::kInternal)
      .def("message", &TritonError::message)
      .def("code", &TritonError::code);
}

}  // namespace tpb::stub
