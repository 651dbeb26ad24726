// One loaded model: what its instances have in common.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "backend/attachment.h"
#include "backend/backend.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

class Model {
 public:
  // Completes the model's configuration if core asks for that. Throws ipc::Error with what the load fails
  // with.
  Model(Backend& backend, TRITONBACKEND_Model* model);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  Model(Model&&) = delete;
  Model& operator=(Model&&) = delete;
  ~Model();

  Backend& backend() noexcept { return backend_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  // A stub on those CPUs and memory nodes: the one that completed the configuration, for whichever instance
  // comes first and asks for the same, else a new one. Throws ipc::Error; gives up when `interrupt`, unless
  // -1, becomes readable.
  std::unique_ptr<Attachment> Attach(const std::string& label, const Placement& placement, int interrupt);

  // How many instances answer requests at the moment.
  std::atomic<int>& serving() noexcept { return serving_; }

  // What the stub has to know of this model; the views are valid as long as the model and `config`.
  [[nodiscard]] ipc::Load LoadMessage(const std::string& config) const;

  // What the metrics page shows of an instance, and of the channel of one of its stubs.
  [[nodiscard]] std::shared_ptr<InstanceMetrics> NewInstanceMetrics(const std::string& instance) const;
  [[nodiscard]] std::unique_ptr<ChannelMetrics> NewChannelMetrics(const InstanceLabels& labels) const;

  // Whether the model answers requests with any number of responses; nothing before core serves it.
  [[nodiscard]] std::optional<bool> IsDecoupled() const noexcept;

  // Whether core served this model and does not any more: it waits for the last answer, to unload it.
  [[nodiscard]] bool IsLeaving() const noexcept;

  // An instance of it is up: what was loaded before from the same place is about to leave.
  void NoteLoaded() { backend_.SetNewest(place_, serial_); }

  // The configuration as core has it now, as JSON.
  [[nodiscard]] std::string Config() const;

 private:
  struct Prestarted {
    std::unique_ptr<Attachment> attachment;
    Placement placement;
  };

  // Whether a launcher has to look what Python this model is to run in.
  [[nodiscard]] bool WantsLauncher(const std::string& config) const;

  // How a stub starts for this model, whose configuration is `config`.
  [[nodiscard]] LaunchPlan Plan(std::string config, const Placement& placement) const;
  std::unique_ptr<Attachment> Spawn(const LaunchPlan& plan, const std::string& label, int interrupt);
  void AutoComplete();
  std::optional<TRITONSERVER_Error_Code> AskTransactions(std::uint32_t* flags) const noexcept;

  Backend& backend_;  // outlives its models
  TRITONBACKEND_Model* const model_;
  TRITONSERVER_Server* const server_;
  std::string name_;
  std::string version_;
  std::string repository_;
  std::string file_;
  const std::string place_;  // folder and version
  const std::uint64_t serial_;
  Interpreter interpreter_;
  mutable std::atomic<bool> was_served_{false};
  std::atomic<int> serving_{0};

  std::mutex prestarted_mutex_;
  Prestarted prestarted_;
};

}  // namespace tpb::backend
