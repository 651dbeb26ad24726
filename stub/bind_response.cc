#include <pybind11/stl.h>

#include <memory>
#include <utility>
#include <vector>

#include "stub/bindings.h"
#include "stub/response.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

using Tensors = std::vector<std::shared_ptr<Tensor>>;

std::shared_ptr<InferenceResponse> MakeResponse(Tensors output_tensors, std::shared_ptr<TritonError> error,
                                                const py::object& parameters) {
  return std::make_shared<InferenceResponse>(std::move(output_tensors), std::move(error),
                                             ParametersFromPython(parameters));
}

}  // namespace

void BindResponse(py::module_& module) {
  py::class_<InferenceResponse, std::shared_ptr<InferenceResponse>>(module, "InferenceResponse")
      .def(py::init(&MakeResponse), py::arg("output_tensors") = py::list(), py::arg("error") = py::none(),
           py::arg("parameters") = py::none())
      .def("output_tensors", &InferenceResponse::output_tensors)
      .def("has_error", &InferenceResponse::has_error)
      .def("error", &InferenceResponse::error)
      .def("parameters", &InferenceResponse::ParametersJson);
}

}  // namespace tpb::stub
