#include "stub/stderr_line.h"

#include <Python.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

namespace tpb::stub {
namespace {

constexpr std::array<char, 4> kLetters{'I', 'W', 'E', 'V'};

// In one piece, as far as the pipe allows, so that several processes do not mix their lines.
void WriteAll(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      return;
    }
  }
}

}  // namespace

void WriteToStderr(const ipc::LogLine& line) {
  std::string text(1, kLetters.at(static_cast<std::size_t>(line.level)));
  text += " " + std::to_string(::getpid()) + " ";
  text += line.file;
  text += ":" + std::to_string(line.line) + "] ";
  text += line.text;
  text += '\n';
  PyThreadState* const state = PyEval_SaveThread();
  WriteAll(text);
  PyEval_RestoreThread(state);
}

}  // namespace tpb::stub
