#include "backend/directories.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "ipc/error.h"

namespace tpb::backend {
namespace {

constexpr const char* kOwnName = "python";
constexpr const char* kStubMain = "/triton_python_backend_utils/launch/stub_main.py";

bool IsFile(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

// The folder that this library was loaded from.
std::string OfThisLibrary() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&FindDirectories), &info) == 0 || info.dli_fname == nullptr) {
    return {};
  }
  return std::filesystem::path(info.dli_fname).parent_path();
}

std::string PackageParent(const std::string& artifacts, const std::string& backends) {
  std::vector<std::string> searched{artifacts};
  if (!backends.empty()) {
    searched.push_back(backends + "/" + kOwnName);
  }
  searched.push_back(OfThisLibrary());
  const auto found = std::ranges::find_if(
      searched, [](const std::string& folder) { return !folder.empty() && IsFile(folder + kStubMain); });
  if (found != searched.end()) {
    return *found;
  }
  std::string text;
  for (const auto& folder : searched) {
    text += (text.empty() ? "" : " and ") + folder;
  }
  throw ipc::Error(ipc::Code::kNotFound,
                   "triton_python_backend_utils is not found. Searched paths: " + text +
                       ". The package belongs beside libtriton_python.so in the folder of the python "
                       "backend: `triton-python install` or `triton-python backend-dir` puts it there");
}

}  // namespace

Directories FindDirectories(const std::string& backend_name, const std::string& artifacts,
                            const std::string& backends) {
  Directories found{.package_parent = PackageParent(artifacts, backends), .model_file = {}};
  if (std::string shared = artifacts + "/model.py"; backend_name != kOwnName && IsFile(shared)) {
    found.model_file = std::move(shared);
  }
  return found;
}

}  // namespace tpb::backend
