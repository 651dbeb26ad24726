#include <string>
#include <string_view>

#include "ipc/wire.h"
#include "stub/bindings.h"
#include "stub/logger.h"

namespace tpb::stub {

// str, bytes or bytearray, not looked into: most lines of a low level are never sent.
struct LogMessage {
  pybind11::object value;
};

}  // namespace tpb::stub

template <>
struct pybind11::detail::type_caster<tpb::stub::LogMessage> {
  PYBIND11_TYPE_CASTER(tpb::stub::LogMessage, const_name("str | bytes"));

  bool load(handle source, bool /*convert*/) {
    if (PyUnicode_Check(source.ptr()) == 0 && PyBytes_Check(source.ptr()) == 0 &&
        PyByteArray_Check(source.ptr()) == 0) {
      return false;
    }
    value.value = reinterpret_borrow<object>(source);
    return true;
  }
};

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::LogLevel;

struct Logger {};

std::string TextOf(py::handle text) {
  if (PyBytes_Check(text.ptr()) != 0) {
    return py::reinterpret_borrow<py::bytes>(text);
  }
  if (PyByteArray_Check(text.ptr()) != 0) {
    return {PyByteArray_AsString(text.ptr()), static_cast<std::size_t>(PyByteArray_Size(text.ptr()))};
  }
  Py_ssize_t size = 0;
  if (const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size)) {
    return {utf8, static_cast<std::size_t>(size)};
  }
  PyErr_Clear();  // lone surrogates, such as names of files have
  const auto escaped =
      py::reinterpret_steal<py::bytes>(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "backslashreplace"));
  if (!escaped) {
    throw py::error_already_set();
  }
  return escaped;
}

// Where the innermost Python function is; there is none when the interpreter itself calls, at its end.
std::pair<std::string, int> Caller() {
  PyFrameObject* const frame = PyEval_GetFrame();
  if (frame == nullptr) {
    return {"?", 0};
  }
  const auto code = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  const std::string file = TextOf(reinterpret_cast<PyCodeObject*>(code.ptr())->co_filename);
  return {file.substr(file.rfind('/') + 1), PyFrame_GetLineNumber(frame)};
}

void Log(const LogMessage& message, LogLevel level) {
  if (!LogIsEnabled(level)) {
    return;
  }
  const auto [file, line] = Caller();
  SendLog(level, file, static_cast<std::uint32_t>(line), TextOf(message.value));
}

}  // namespace

void BindLogger(py::module_& module) {
  py::class_<Logger> logger(module, "Logger");
  py::enum_<LogLevel>(logger, "LogLevel")
      .value("INFO", LogLevel::kInfo)
      .value("WARNING", LogLevel::kWarning)
      .value("ERROR", LogLevel::kError)
      .value("VERBOSE", LogLevel::kVerbose)
      .export_values();
  logger.def_static("log", Log, py::arg("message"), py::arg("level") = LogLevel::kInfo)
      .def_static(
          "log_info", [](const LogMessage& message) { Log(message, LogLevel::kInfo); }, py::arg("message"))
      .def_static(
          "log_warn", [](const LogMessage& message) { Log(message, LogLevel::kWarning); }, py::arg("message"))
      .def_static(
          "log_error", [](const LogMessage& message) { Log(message, LogLevel::kError); }, py::arg("message"))
      .def_static(
          "log_verbose", [](const LogMessage& message) { Log(message, LogLevel::kVerbose); },
          py::arg("message"));
}

}  // namespace tpb::stub
