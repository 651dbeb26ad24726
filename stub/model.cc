#include "stub/model.h"

#include <pybind11/stl.h>

#include <utility>

#include "ipc/error.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using namespace py::literals;  // "name"_a
using ipc::Code;
using ipc::Error;

py::object MakeArgs(const py::object& loader, const ipc::Load& load) {
  return loader.attr("make_args")(
      "model_config"_a = load.config_json, "model_instance_kind"_a = load.instance_kind,
      "model_instance_name"_a = load.instance_name, "model_instance_device_id"_a = load.instance_device_id,
      "model_repository"_a = load.model_repository, "model_version"_a = load.model_version,
      "model_name"_a = load.model_name);
}

// A part of the start, whose time the loader measures.
class Phase {
 public:
  Phase(const py::object& loader, const char* name) : loader_(loader) { loader_.attr("begin_phase")(name); }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;
  Phase(Phase&&) = delete;
  Phase& operator=(Phase&&) = delete;
  ~Phase() {
    const py::error_scope keep;  // an exception of the model's may be on its way
    PyObject* nothing = PyObject_CallMethod(loader_.ptr(), "end_phase", nullptr);
    if (nothing == nullptr) {
      PyErr_WriteUnraisable(loader_.ptr());
    }
    Py_XDECREF(nothing);
  }

 private:
  const py::object& loader_;
};

}  // namespace

void Model::LoadClass(const ipc::Load& load) {
  auto file = loader_.attr("model_file")(load.model_file, load.model_repository, load.config_json)
                  .cast<std::string>();
  if (class_ && file_ == file) {
    return;
  }
  file_ = std::move(file);
  const Phase phase(loader_, "importing the model");
  class_ =
      loader_.attr("load_model_class")(file_, load.model_repository, load.model_version, load.backend_dir);
}

std::string Model::AutoComplete(const ipc::Load& load) {
  LoadClass(load);
  const Phase phase(loader_, "auto_complete_config");
  return loader_.attr("auto_complete")(class_, load.config_json, load.model_name).cast<std::string>();
}

ModelFacts Model::Initialize(const ipc::Load& load) {
  LoadClass(load);
  const py::object settings = loader_.attr("read_settings")(load.config_json);
  decoupled_ = settings.attr("decoupled").cast<bool>();
  if (loader_.attr("is_async")(class_).cast<bool>()) {
    event_loop_.Start();
  }
  py::object model = class_();
  if (py::hasattr(model, "initialize")) {
    const Phase phase(loader_, "initialize");
    model.attr("initialize")(MakeArgs(loader_, load));
  }
  loader_.attr("report_start")(load.instance_name);
  model_ = std::move(model);
  return {.instance_name = std::string(load.instance_name),
          .max_batch_size = settings.attr("max_batch_size").cast<std::uint32_t>(),
          .decoupled = decoupled_,
          .may_replay = settings.attr("replay_after_crash").cast<bool>(),
          .execute_timeout_ms = settings.attr("execute_timeout_ms").cast<std::uint32_t>(),
          .state_outputs = settings.attr("state_outputs").cast<std::vector<std::string>>()};
}

py::object Model::Execute(const py::object& requests, const std::function<py::object()>& make_done) {
  if (!model_) {
    throw Error(Code::kInternal, "the model is not initialized");
  }
  const auto execute = py::reinterpret_steal<py::object>(PyObject_GetAttr(model_.ptr(), execute_name_.ptr()));
  if (!execute) {
    if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) {
      throw py::error_already_set();
    }
    PyErr_Clear();
    throw Error(Code::kInternal, "Python model " + file_ + " does not implement `execute` method.");
  }
  auto result = py::reinterpret_steal<py::object>(PyObject_CallOneArg(execute.ptr(), requests.ptr()));
  if (!result) {
    throw py::error_already_set();
  }
  if (!EventLoop::IsAwaitable(result)) {
    return result;
  }
  if (!decoupled_) {
    return event_loop_.Run(result);
  }
  event_loop_.Submit(result, make_done());
  return py::none();
}

void Model::Finalize() {
  const py::object model = std::exchange(model_, py::object());
  event_loop_.Close();
  if (model && py::hasattr(model, "finalize")) {
    model.attr("finalize")();
  }
}

void Model::FlushOutput() const { loader_.attr("flush_output")(); }

Error Model::Describe(const py::error_already_set& error) const {
  if (error.trace()) {
    // Before Python 3.12 the two travel apart.
    PyException_SetTraceback(error.value().ptr(), error.trace().ptr());
  }
  return DescribeException(loader_, error.value());
}

Error DescribeException(const py::object& loader, const py::object& exception) {
  const bool unsupported = py::isinstance(exception, loader.attr("UnsupportedSetting"));
  const auto text = loader.attr("describe_exception")(exception).cast<std::string>();
  // An exception and the frames that it passed often hold each other, those of asyncio always do: the inputs
  // of the batch would live on until the next garbage collection.
  PyException_SetTraceback(exception.ptr(), Py_None);
  return {unsupported ? Code::kUnsupported : Code::kInternal, text};
}

}  // namespace tpb::stub
