#include <cstdint>
#include <memory>

#include "stub/bindings.h"
#include "stub/response_sender.h"

namespace tpb::stub {

namespace py = pybind11;

void BindResponseSender(py::module_& module) {
  py::class_<ResponseSender, std::shared_ptr<ResponseSender>>(module, "InferenceResponseSender")
      .def("send", &ResponseSender::Send, py::arg("response") = py::none(), py::arg("flags") = 0)
      .def("is_cancelled", &ResponseSender::IsCancelled);
}

}  // namespace tpb::stub
