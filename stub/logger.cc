#include "stub/logger.h"

#include <pybind11/pybind11.h>

#include <array>
#include <atomic>
#include <utility>

#include "ipc/messages.h"
#include "stub/fork.h"
#include "stub/log_sender.h"
#include "stub/stderr_line.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

// Never ends, as models log until the very end. A plain pointer, for no lock may be taken in a forked child.
std::atomic<LogSender*> current{nullptr};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

// logging.INFO, WARNING, ERROR, DEBUG
constexpr std::array<int, 4> kPythonLevels{20, 30, 40, 10};

// `logging` finds the caller by itself: a function in C++ has no frame.
void LogInPython(const ipc::LogLine& line) {
  const auto text = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(line.text.data(), static_cast<Py_ssize_t>(line.text.size()), "backslashreplace"));
  if (!text) {
    throw py::error_already_set();
  }
  py::object logger;
  try {
    logger = py::module_::import("logging").attr("getLogger")("triton_python_backend_utils");
  } catch (const py::error_already_set&) {
    WriteToStderr(line);  // the interpreter is ending, and imports nothing any more
    return;
  }
  logger.attr("log")(kPythonLevels.at(static_cast<std::size_t>(line.level)), text);
}

}  // namespace

void UseForLog(std::shared_ptr<ipc::StubChannel> channel) {
  const auto sender = std::make_shared<LogSender>(std::move(channel));
  Leak(sender);
  current.store(sender.get(), std::memory_order_release);
}

bool LogIsEnabled(ipc::LogLevel level) noexcept {
  const LogSender* const sender = current.load(std::memory_order_acquire);
  return sender == nullptr || sender->IsEnabled(level);
}

void SendLog(ipc::LogLevel level, std::string_view file, std::uint32_t line, std::string_view text) {
  const ipc::LogLine log_line{.level = level, .line = line, .file = file, .text = text};
  if (LogSender* const sender = current.load(std::memory_order_acquire)) {
    sender->Send(log_line);
  } else {
    LogInPython(log_line);
  }
}

}  // namespace tpb::stub
