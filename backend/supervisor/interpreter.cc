#include "backend/supervisor/interpreter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

#include "backend/supervisor/spawn_call.h"
#include "ipc/deadline.h"
#include "ipc/error.h"
#include "ipc/peer.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {
namespace {

constexpr std::chrono::seconds kProbeLimit{60};

// Prints the interpreter's own idea of its path (a pyenv shim would cost a shell at every start, and depends
// on the folder it is run in), or says nothing when something that a stub needs is missing.
constexpr const char* kProbe =
    "import sys\n"
    "from importlib.machinery import PathFinder\n"
    "from importlib.util import module_from_spec\n"
    "sys.path[:] = [folder for folder in sys.path if folder]\n"  // not what lies in the server's working
                                                                 // directory
    "import numpy\n"
    "module_from_spec(PathFinder.find_spec('_core', sys.argv[1:]))\n"
    "sys.stdout.write(sys.executable)\n";

bool IsExecutable(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

std::string PathOf(const std::vector<std::string>& environment) {
  constexpr std::string_view kPath = "PATH=";
  for (const auto& entry : environment) {
    if (std::string_view(entry).starts_with(kPath)) {
      return entry.substr(kPath.size());
    }
  }
  return {};
}

std::optional<std::string> FindOnPath(const std::string& path, const std::string& program) {
  std::istringstream folders(path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string candidate = folder.append("/").append(program);
    if (candidate.front() == '/' && candidate.size() > program.size() + 1 && IsExecutable(candidate)) {
      return candidate;
    }
  }
  return std::nullopt;
}

// All that the child writes until it closes the pipe or the deadline passes.
std::string ReadAll(int fd, ipc::Deadline deadline) {
  std::string text;
  char buffer[4096];
  while (ipc::WaitReadable(&fd, 1, deadline) == 0) {
    const ssize_t count = ::read(fd, buffer, sizeof(buffer));
    if (count <= 0) {
      break;
    }
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return text;
}

// Runs `argv` with nothing on stdin and stderr; its output, or nothing if it failed or took too long.
std::optional<std::string> RunCaptured(const std::vector<std::string>& argv,
                                       const std::vector<std::string>& environment) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    ipc::ThrowErrno("Unable to create a pipe", errno);
  }
  const ipc::UniqueFd reading(ends[0]);
  ipc::UniqueFd writing(ends[1]);

  SpawnCall call;
  call.OpenNull(STDIN_FILENO, O_RDONLY);
  call.OpenNull(STDERR_FILENO, O_WRONLY);
  call.Duplicate(writing.get(), STDOUT_FILENO);
  pid_t pid = -1;
  try {
    pid = call.Run(argv, environment);
  } catch (const ipc::Error&) {
    return std::nullopt;
  }
  writing.Reset();
  const auto deadline = ipc::Deadline::After(kProbeLimit);
  std::string output = ReadAll(reading.get(), deadline);
  if (deadline.Passed()) {
    ::killpg(pid, SIGKILL);
  }
  int status = -1;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return std::nullopt;
  }
  return output;
}

std::string RecordedInterpreter(const std::string& backend_dir) {
  std::ifstream file(backend_dir + "/interpreter.txt");
  std::string path;
  std::getline(file, path);
  return path;
}

}  // namespace

std::optional<Interpreter> FindAnyPython(const std::vector<std::string>& environment) {
  const auto on_path = FindOnPath(PathOf(environment), "python3");
  if (!on_path) {
    return std::nullopt;
  }
  return Interpreter{.path = *on_path, .reason = "python3 on the server's PATH"};
}

Interpreter FindInterpreter(const InterpreterSearch& search) {
  if (!search.configured.empty()) {
    if (!IsExecutable(search.configured)) {
      throw ipc::Error(
          ipc::Code::kInvalidArg,
          "The Python interpreter '" + search.configured +
              "' of --backend-config=python,python-executable does not exist or is not an executable "
              "file: give the absolute path of a Python 3.9 or newer that has numpy");
    }
    return {.path = search.configured, .reason = "--backend-config=python,python-executable"};
  }
  const auto on_path = FindOnPath(PathOf(search.environment), "python3");
  if (on_path) {
    const auto path = RunCaptured(
        {*on_path, "-c", kProbe, search.backend_dir + "/triton_python_backend_utils"}, search.environment);
    if (path && IsExecutable(*path)) {
      return {.path = *path, .reason = "python3 on the server's PATH"};
    }
  }
  const std::string recorded = RecordedInterpreter(search.backend_dir);
  if (IsExecutable(recorded)) {
    return {.path = recorded, .reason = "the Python that installed the backend"};
  }
  throw ipc::Error(
      ipc::Code::kInvalidArg,
      "No Python interpreter to run models with: " +
          (on_path ? "'" + *on_path + "' cannot import numpy and the compiled module in " + search.backend_dir
                   : std::string("there is no python3 on the server's PATH")) +
          ", and " +
          (recorded.empty() ? "no interpreter is recorded beside the backend library"
                            : "the recorded interpreter '" + recorded + "' is gone") +
          ". Name one with --backend-config=python,python-executable=/path/to/python3");
}

}  // namespace tpb::backend
