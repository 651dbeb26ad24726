// Which Python runs a model, when the model does not ask for an environment of its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tpb::backend {

struct Interpreter {
  std::string path;    // absolute, ready to be executed
  std::string reason;  // for the log: why this one
};

struct InterpreterSearch {
  std::string configured;                // --backend-config=python,python-executable=...; may be empty
  std::string backend_dir;               // holds triton_python_backend_utils and, maybe, interpreter.txt
  std::vector<std::string> environment;  // of the server, for PATH
};

// In this order: the configured one; the first python3 on PATH, if it can import numpy and our compiled
// module; the Python that installed the backend, recorded in interpreter.txt. Throws ipc::Error that says
// what was tried. Starts `python3` once to ask it, so call it once per backend.
Interpreter FindInterpreter(const InterpreterSearch& search);

// The first python3 on PATH, whatever it has installed: for the launcher, which needs nothing but the
// standard library.
std::optional<Interpreter> FindAnyPython(const std::vector<std::string>& environment);

}  // namespace tpb::backend
