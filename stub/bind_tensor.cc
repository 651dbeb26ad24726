#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "stub/bindings.h"
#include "stub/tensor.h"

namespace tpb::stub {

namespace py = pybind11;

void BindTensor(py::module_& module) {
  py::class_<Tensor, std::shared_ptr<Tensor>>(module, "Tensor")
      .def(py::init<std::string, py::array>())
      .def("name", &Tensor::name)
      .def("shape", &Tensor::Shape)
      .def("is_cpu", &Tensor::is_cpu)
      .def("triton_dtype", [](const Tensor& tensor) { return static_cast<int>(tensor.dtype()); })
      .def("as_numpy", &Tensor::AsNumpy);
}

}  // namespace tpb::stub
