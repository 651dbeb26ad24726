#include "backend/model_log.h"

#include <algorithm>
#include <limits>

#include "backend/printable.h"
#include "backend/triton_error.h"

namespace tpb::backend {
namespace {

using ipc::LogLevel;

constexpr TRITONSERVER_LogLevel ToTriton(LogLevel level) { return static_cast<TRITONSERVER_LogLevel>(level); }
static_assert(ToTriton(LogLevel::kInfo) == TRITONSERVER_LOG_INFO &&
              ToTriton(LogLevel::kWarning) == TRITONSERVER_LOG_WARN &&
              ToTriton(LogLevel::kError) == TRITONSERVER_LOG_ERROR &&
              ToTriton(LogLevel::kVerbose) == TRITONSERVER_LOG_VERBOSE);

}  // namespace

std::uint32_t EnabledLogLevels() noexcept {
  std::uint32_t levels = 0;
  for (const auto level : {LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError, LogLevel::kVerbose}) {
    if (triton::Api().TRITONSERVER_LogIsEnabled(ToTriton(level))) {
      levels |= 1U << static_cast<std::uint32_t>(level);
    }
  }
  return levels;
}

void LogModelLine(const ipc::LogLine& line) {
  constexpr std::uint32_t kMaxLine = std::numeric_limits<int>::max();
  Log(ToTriton(line.level), Printable(line.file, Newlines::kEscape).c_str(),
      static_cast<int>(std::min(line.line, kMaxLine)), Printable(line.text, Newlines::kKeep));
}

void LogPrintedLine(ipc::LogLevel level, const std::string& source, int number, std::string_view line) {
  Log(ToTriton(level), source.c_str(), number, Printable(line, Newlines::kEscape));
}

}  // namespace tpb::backend
