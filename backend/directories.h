// Where the pieces of a backend lie on disk. A python-based backend is a folder with a model.py that all of
// its models share; this library runs it, from its own folder.
#pragma once

#include <string>

namespace tpb::backend {

struct Directories {
  std::string package_parent;  // holds triton_python_backend_utils, and what is recorded beside it
  std::string model_file;      // of a python-based backend; empty: each model brings its own
};

// `backend_name` and `artifacts` (its folder) are what core says, `backends` is --backend-directory or empty.
// Throws ipc::Error when the package is nowhere.
Directories FindDirectories(const std::string& backend_name, const std::string& artifacts,
                            const std::string& backends);

}  // namespace tpb::backend
