#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/bls.h"
#include "stub/preferred_memory.h"
#include "stub/request.h"
#include "stub/response_sender.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

CorrelationId ToCorrelationId(const py::object& value) {
  if (py::isinstance<py::str>(value) || py::isinstance<py::bytes>(value)) {
    return value.cast<std::string>();
  }
  if (py::isinstance<py::int_>(value)) {
    return value.cast<std::uint64_t>();
  }
  if (value.is_none()) {
    throw py::type_error("correlation_id must not be None");
  }
  throw ipc::Error(ipc::Code::kInvalidArg, "Correlation ID must be integer or string");
}

// NOLINTNEXTLINE(readability-function-size): these are the arguments that models pass
std::shared_ptr<InferenceRequest> MakeRequest(
    std::string request_id, const py::object& correlation_id, std::vector<std::shared_ptr<Tensor>> inputs,
    std::vector<std::string> requested_output_names, std::string model_name, std::int64_t model_version,
    std::uint32_t flags, std::uint64_t timeout, const PreferredMemory& /*preferred_memory*/,
    const InferenceTrace& trace, const py::object& parameters, std::uint64_t priority) {
  return std::make_shared<InferenceRequest>(
      RequestOptions{.request_id = std::move(request_id),
                     .correlation_id = ToCorrelationId(correlation_id),
                     .inputs = std::move(inputs),
                     .requested_output_names = std::move(requested_output_names),
                     .model_name = std::move(model_name),
                     .model_version = model_version,
                     .flags = flags,
                     .timeout_us = timeout,
                     .trace = trace,
                     .parameters = ParametersFromPython(parameters),
                     .priority = priority});
}

py::object Exec(const InferenceRequest& request, bool decoupled) {
  return decoupled ? py::cast(StreamInference(request)) : py::cast(RunInference(request));
}

py::object AsyncExec(const py::object& request, bool decoupled) {
  return py::module_::import("triton_python_backend_utils._async_calls").attr("start")(request, decoupled);
}

py::object ContextOf(const InferenceTrace& trace) {
  return trace.context.empty() ? py::object(py::none()) : py::str(trace.context);
}

}  // namespace

void BindRequest(py::module_& module) {
  py::class_<InferenceTrace>(module, "InferenceTrace").def("get_context", &ContextOf);
  py::class_<InferenceRequest, std::shared_ptr<InferenceRequest>>(module, "InferenceRequest")
      .def(py::init(&MakeRequest), py::arg("request_id") = "", py::arg("correlation_id") = 0,
           py::arg("inputs"), py::arg("requested_output_names"), py::arg("model_name"),
           py::arg("model_version") = -1, py::arg("flags") = 0, py::arg("timeout") = 0,
           py::arg_v("preferred_memory", PreferredMemory(), "PreferredMemory()"),
           py::arg_v("trace", InferenceTrace(), "InferenceTrace()"), py::arg("parameters") = py::none(),
           py::arg("priority") = 0)
      .def("inputs", &InferenceRequest::Inputs)
      .def("request_id", &InferenceRequest::request_id)
      .def("correlation_id", &InferenceRequest::correlation_id)
      .def("flags", &InferenceRequest::flags)
      .def("set_flags", &InferenceRequest::set_flags, py::arg("flags"))
      .def("timeout", &InferenceRequest::timeout)
      .def("parameters", &InferenceRequest::ParametersJson)
      .def("requested_output_names", &InferenceRequest::RequestedOutputNames)
      .def("trace", &InferenceRequest::trace)
      .def("is_cancelled", &InferenceRequest::IsCancelled)
      .def("get_response_sender", &InferenceRequest::Sender)
      .def("set_release_flags", &InferenceRequest::set_release_flags, py::arg("flags"))
      .def("exec", &Exec, py::arg("decoupled") = false)
      .def("async_exec", &AsyncExec, py::arg("decoupled") = false);
}

}  // namespace tpb::stub
