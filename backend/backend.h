// What the library keeps for each backend name that it is initialised under ("python", or a python-based
// backend).
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backend/bls/waits.h"
#include "backend/control/model_control.h"
#include "backend/directories.h"
#include "backend/memory_gauges.h"
#include "backend/options.h"
#include "backend/supervisor/interpreter.h"
#include "backend/supervisor/spawner.h"
#include "ipc/budget.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

class Backend {
 public:
  // Reads name, folder and settings from core. Throws ipc::Error for a setting that is wrong.
  explicit Backend(TRITONBACKEND_Backend* backend);

  [[nodiscard]] const Directories& directories() const noexcept { return directories_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  Spawner& spawner() noexcept { return spawner_; }
  [[nodiscard]] const std::shared_ptr<ipc::Budget>& memory_budget() const noexcept { return memory_budget_; }
  [[nodiscard]] const MemoryGaugeFamilies& memory_gauge_families() const noexcept {
    return memory_gauge_families_;
  }

  [[nodiscard]] const std::shared_ptr<bls::Waits>& waits() const noexcept { return waits_; }
  control::ModelControl& model_control() noexcept { return model_control_; }

  // Looked for once, when the first model asks; a failure is not remembered.
  Interpreter interpreter();

  // What the launcher of a model's own environment runs in: the same, or if no Python here can run models,
  // any.
  Interpreter launcher_interpreter();

  // How a stub for `model_name` is started.
  [[nodiscard]] LaunchPlan Plan(const Interpreter& interpreter, const std::string& model_name,
                                const Placement& placement) const;

  // The same for a model in `model_dir` that has an environment of its own, which a launcher prepares.
  [[nodiscard]] LaunchPlan PlanWithLauncher(const Interpreter& interpreter, const std::string& model_name,
                                            const std::string& model_dir, std::string config,
                                            const Placement& placement) const;

 private:
  // The absolute path of a program that belongs to the package.
  [[nodiscard]] std::string Script(const char* name) const;

  Options options_;
  Directories directories_;
  const std::vector<std::string> environment_;
  std::mutex interpreter_mutex_;
  std::optional<Interpreter> interpreter_;
  const std::shared_ptr<ipc::Budget> memory_budget_;  // shared by all stubs
  const MemoryGaugeFamilies memory_gauge_families_;
  Spawner spawner_;
  const std::shared_ptr<bls::Waits> waits_ = std::make_shared<bls::Waits>();  // shared by all stubs
  control::ModelControl model_control_;
};

}  // namespace tpb::backend
