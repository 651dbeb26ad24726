#include "backend/backend.h"

#include <unistd.h>

#include <algorithm>
#include <map>

#include "backend/string_map.h"
#include "backend/triton_error.h"
#include "ipc/error.h"

namespace tpb::backend {
namespace {

std::string Name(TRITONBACKEND_Backend* backend) {
  const char* name = nullptr;
  Check(triton::Api().TRITONBACKEND_BackendName(backend, &name));
  return name;
}

std::string Artifacts(TRITONBACKEND_Backend* backend) {
  TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* directory = nullptr;
  Check(triton::Api().TRITONBACKEND_BackendArtifacts(backend, &type, &directory));
  return directory;
}

std::map<std::string, std::string> Settings(TRITONBACKEND_Backend* backend) {
  const auto& api = triton::Api();
  TRITONSERVER_Message* message = nullptr;  // stays core's
  Check(api.TRITONBACKEND_BackendConfig(backend, &message));
  const char* json = nullptr;
  std::size_t size = 0;
  Check(api.TRITONSERVER_MessageSerializeToJson(message, &json, &size));
  return ReadStringMap({json, size}, "cmdline");
}

Directories Locate(TRITONBACKEND_Backend* backend) {
  const auto settings = Settings(backend);
  const auto backends = settings.find("backend-directory");
  return FindDirectories(Name(backend), Artifacts(backend),
                         backends == settings.end() ? std::string() : backends->second);
}

}  // namespace

Backend::Backend(TRITONBACKEND_Backend* backend)
    : options_(ReadOptions(Settings(backend), Name(backend))),
      directories_(Locate(backend)),
      environment_(SnapshotEnvironment()),
      memory_budget_(std::make_shared<ipc::Budget>(options_.shm_total_max_byte_size)),
      metrics_(Name(backend)) {
  Log(TRITONSERVER_LOG_VERBOSE, __FILE__, __LINE__,
      "Shared memory configuration is shm-default-byte-size=" +
          std::to_string(options_.shm_default_byte_size) +
          ",shm-growth-byte-size=" + std::to_string(options_.shm_growth_byte_size) +
          ",stub-timeout-seconds=" + std::to_string(options_.stub_timeout.count()));
}

Interpreter Backend::interpreter() {
  const std::scoped_lock lock(interpreter_mutex_);
  if (!interpreter_) {
    interpreter_ = FindInterpreter({.configured = options_.python_executable,
                                    .backend_dir = directories_.package_parent,
                                    .environment = environment_});
  }
  return *interpreter_;
}

Interpreter Backend::launcher_interpreter() {
  try {
    return interpreter();
  } catch (const ipc::Error&) {
    const auto any = FindAnyPython(environment_);
    if (!any) {
      throw;
    }
    return *any;
  }
}

void Backend::SetNewest(const std::string& place, std::uint64_t serial) {
  const std::scoped_lock lock(newest_mutex_);
  std::uint64_t& newest = newest_[place];
  newest = std::max(newest, serial);
}

void Backend::Forget(const std::string& place, std::uint64_t serial) noexcept {
  const std::scoped_lock lock(newest_mutex_);
  if (const auto found = newest_.find(place); found != newest_.end() && found->second == serial) {
    newest_.erase(found);
  }
}

bool Backend::IsOutdated(const std::string& place, std::uint64_t serial) const {
  const std::scoped_lock lock(newest_mutex_);
  const auto found = newest_.find(place);
  return found != newest_.end() && found->second > serial;
}

LaunchPlan Backend::Plan(const Interpreter& interpreter, const std::string& model_name,
                         const Placement& placement) const {
  // -B, for it and for what multiprocessing spawns: no __pycache__ in a repository, which polling would take
  // for a change.
  return {.argv = {interpreter.path, "-B", Script("stub_main.py"), std::to_string(LaunchPlan::kSocketNumber),
                   model_name, std::to_string(::getpid())},
          .environment = environment_,
          .placement = placement,
          .config = {}};
}

LaunchPlan Backend::PlanWithLauncher(const Interpreter& interpreter, const std::string& model_name,
                                     const std::string& model_dir, std::string config,
                                     const Placement& placement) const {
  // -I: it is none of a model's environment, so neither are PYTHONPATH and the user's packages.
  return {
      .argv = {interpreter.path, "-B", "-I", Script("launcher.py"), std::to_string(LaunchPlan::kSocketNumber),
               model_name, std::to_string(::getpid()), model_dir, options_.environment_cache_directory,
               std::to_string(options_.environment_cache_max_byte_size)},
      .environment = environment_,
      .placement = placement,
      .config = std::move(config)};
}

std::string Backend::Script(const char* name) const {
  return directories_.package_parent + "/triton_python_backend_utils/launch/" + name;
}

}  // namespace tpb::backend
