#include <memory>

#include "stub/attachment.h"
#include "stub/bindings.h"

namespace tpb::stub {

namespace py = pybind11;

void BindAttachment(py::module_& module) {
  py::class_<Attachment, std::unique_ptr<Attachment>>(module, "Attachment")
      .def("serve", &Attachment::Serve, py::arg("loader"))
      .def("fail", &Attachment::Fail, py::arg("text"));
  module.def("connect", &Attachment::Connect, py::arg("fd"), py::arg("owned") = true);
}

}  // namespace tpb::stub
