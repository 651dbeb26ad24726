#include <string>
#include <string_view>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/connection.h"
#include "stub/model_control.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Code;
using ipc::Error;

std::string_view BytesView(py::handle object) {
  if (PyBytes_Check(object.ptr()) == 0) {
    throw py::type_error("Object of type '" + std::string(Py_TYPE(object.ptr())->tp_name) +
                         "' is not an instance of 'bytes'");
  }
  return {PyBytes_AS_STRING(object.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(object.ptr()))};
}

std::string_view TextView(py::handle object) {
  if (PyUnicode_Check(object.ptr()) == 0) {
    return BytesView(object);
  }
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
  if (utf8 == nullptr) {
    throw py::error_already_set();
  }
  return {utf8, static_cast<std::size_t>(size)};
}

void Load(const std::string& model_name, const std::string& config, const py::object& files) {
  Files views;
  py::dict held;  // a thread may change the caller's while the server loads
  if (!files.is_none()) {
    if (!py::isinstance<py::dict>(files)) {
      throw Error(Code::kInvalidArg, "failed to load model '" + model_name +
                                         "', files should be a dictionary of file paths and file contents");
    }
    held = py::reinterpret_steal<py::dict>(PyDict_Copy(files.ptr()));
    for (const auto& [path, content] : held) {
      views.emplace_back(TextView(path), BytesView(content));
    }
  }
  LoadModel(model_name, config, views);
}

std::string GetModelDir() {
  const auto connection = Connection::Inherited();
  if (!connection) {
    throw Error(Code::kUnavailable,
                "get_model_dir works in a model that a server runs, on any of its threads");
  }
  return connection->model_dir();
}

}  // namespace

void BindModelControl(py::module_& module) {
  module.def("load_model", &Load, py::arg("model_name"), py::arg("config") = "",
             py::arg("files") = py::none());
  module.def("unload_model", &UnloadModel, py::arg("model_name"), py::arg("unload_dependents") = false);
  module.def("is_model_ready", &IsModelReady, py::arg("model_name"), py::arg("model_version") = "");
  module.def("get_model_dir", &GetModelDir);
}

}  // namespace tpb::stub
