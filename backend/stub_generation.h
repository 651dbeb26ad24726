// One stub in the service of an instance, from its start to its end.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "backend/attachment.h"
#include "backend/gather.h"
#include "backend/healer.h"
#include "backend/instance_metrics.h"
#include "backend/model.h"
#include "backend/state.h"
#include "backend/supervisor/placement.h"
#include "ipc/codec.h"

namespace tpb::backend {

// What core says of an instance; the same for all of its generations.
struct InstanceIdentity {
  std::string name;
  std::string kind;
  std::string device_id;
  Placement placement;
};

class StubGeneration final : public Generation {
 public:
  // Starts a stub, or takes the model's prestarted one. `on_gone` is called once it has died, from any
  // thread. Throws ipc::Error; gives up when `interrupt`, unless -1, becomes readable.
  StubGeneration(Model& model, const InstanceIdentity& identity, std::shared_ptr<InstanceMetrics> metrics,
                 int interrupt, std::function<void()> on_gone);

  void Initialize() override;
  [[nodiscard]] bool gone() const noexcept override { return attachment_->gone(); }
  void Condemn(const std::string& why) noexcept override { attachment_->Condemn(why); }
  [[nodiscard]] std::string Epitaph() const override { return attachment_->Epitaph(); }
  [[nodiscard]] std::string Cause() const override { return attachment_->Cause(); }

  Attachment& attachment() noexcept { return *attachment_; }
  [[nodiscard]] const InstanceFacts& facts() const noexcept { return facts_; }
  [[nodiscard]] const StateOutputs& state_outputs() const noexcept { return state_outputs_; }
  [[nodiscard]] bool has_ready_check() const noexcept { return has_ready_check_; }

  // How long one execute may take; 0: for ever.
  [[nodiscard]] std::chrono::milliseconds execute_timeout() const noexcept { return execute_timeout_; }
  // Whether the model allows that a batch is executed once more when the process has died over it.
  [[nodiscard]] bool may_replay() const noexcept { return may_replay_; }

  // Lets those who answer through response senders know what the model is; before each exchange.
  void TellResponders();

 private:
  Model& model_;  // outlives its instances
  const InstanceIdentity& identity_;
  InstanceFacts facts_;
  StateOutputs state_outputs_;
  const std::unique_ptr<Attachment> attachment_;
  const std::shared_ptr<InstanceMetrics> metrics_;
  std::chrono::milliseconds execute_timeout_{0};
  bool may_replay_ = false;
  bool decoupled_ = false;  // as the stub says
  bool responders_know_ = false;
  bool has_ready_check_ = false;  // the model defines is_ready()
};

// What a request is told whose stub has died.
ipc::Error NotHealthy(const std::string& instance, const std::string& epitaph);

}  // namespace tpb::backend
