#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "stub/bindings.h"
#include "stub/dlpack.h"
#include "stub/tensor.h"

namespace tpb::stub {

namespace {

namespace py = pybind11;

py::object GiveDlpack(const py::object& self, bool copy) {
  const SharedArray array = self.cast<Tensor&>().AsSharedArray();
  // The old form of a capsule, which every consumer takes, cannot say that its memory must not be written to.
  return ToDlpack(array, array.copy ? array.copy : self, copy || array.read_only);
}

// As the array API standard has it. A consumer may ask for more than there is: a CPU has no streams, and a
// capsule of the first version is right for every version that it understands.
py::object GiveDlpackAs(const py::object& self, const py::object& /*stream*/,
                        const py::object& /*max_version*/, const py::object& /*dl_device*/,
                        std::optional<bool> copy) {
  return GiveDlpack(self, copy.value_or(false));
}

std::shared_ptr<Tensor> TakeDlpack(std::string name, const py::object& producer) {
  Tensor::CheckName(name);
  return std::make_shared<Tensor>(std::move(name), FromDlpack(producer));
}

}  // namespace

void BindTensor(py::module_& module) {
  py::class_<Tensor, std::shared_ptr<Tensor>>(module, "Tensor")
      .def(py::init<std::string, py::array>())
      .def("name", &Tensor::name)
      .def("shape", &Tensor::Shape)
      .def("is_cpu", &Tensor::is_cpu)
      .def("triton_dtype", [](const Tensor& tensor) { return static_cast<int>(tensor.dtype()); })
      .def("as_numpy", &Tensor::AsNumpy)
      .def("to_dlpack", [](const py::object& self) { return GiveDlpack(self, false); })
      .def("__dlpack__", &GiveDlpackAs, py::arg("stream") = py::none(), py::kw_only(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const Tensor&) { return std::pair(int{dlpack::kCpu}, 0); })
      .def_static("from_dlpack", &TakeDlpack);
}

}  // namespace tpb::stub
