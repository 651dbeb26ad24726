#include <memory>
#include <string>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/response.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Code;

}  // namespace

void BindErrors(py::module_& module) {
  // Every Error that a binding throws becomes one; models raise it as well.
  const auto& exception = py::register_local_exception<ipc::Error>(module, "TritonModelException");
  exception.attr("__module__") = module.attr("__module__");

  py::class_<TritonError, std::shared_ptr<TritonError>> error(module, "TritonError");
  py::enum_<Code>(error, "__ErrorCode")
      .value("UNKNOWN", Code::kUnknown)
      .value("INTERNAL", Code::kInternal)
      .value("NOT_FOUND", Code::kNotFound)
      .value("INVALID_ARG", Code::kInvalidArg)
      .value("UNAVAILABLE", Code::kUnavailable)
      .value("UNSUPPORTED", Code::kUnsupported)
      .value("ALREADY_EXISTS", Code::kAlreadyExists)
      .value("CANCELLED", Code::kCancelled)
      .export_values();
  error.def(py::init<std::string, Code>(), py::arg("message"), py::arg("code") = Code::kInternal)
      .def("message", &TritonError::message)
      .def("code", &TritonError::code);
}

}  // namespace tpb::stub
