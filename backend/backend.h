// What the library keeps for each backend name that it is initialised under ("python", or a python-based
// backend).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backend/bls/waits.h"
#include "backend/control/model_control.h"
#include "backend/directories.h"
#include "backend/late_releases.h"
#include "backend/metrics.h"
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
  [[nodiscard]] const Metrics& metrics() const noexcept { return metrics_; }

  // Models in the order in which they were made. The newest of a place that is up takes over from others,
  // which go on until their last answer.
  std::uint64_t NextSerial() noexcept { return ++last_serial_; }
  void SetNewest(const std::string& place, std::uint64_t serial);
  void Forget(const std::string& place, std::uint64_t serial) noexcept;  // it leaves itself
  [[nodiscard]] bool IsOutdated(const std::string& place, std::uint64_t serial) const;

  [[nodiscard]] const std::shared_ptr<bls::Waits>& waits() const noexcept { return waits_; }
  control::ModelControl& model_control() noexcept { return model_control_; }
  LateReleases& late_releases() noexcept { return late_releases_; }

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
  const Metrics metrics_;
  std::atomic<std::uint64_t> last_serial_{0};
  mutable std::mutex newest_mutex_;
  std::map<std::string, std::uint64_t> newest_;  // by place; under newest_mutex_
  Spawner spawner_;
  const std::shared_ptr<bls::Waits> waits_ = std::make_shared<bls::Waits>();  // shared by all stubs
  control::ModelControl model_control_;
  LateReleases late_releases_;
};

}  // namespace tpb::backend
