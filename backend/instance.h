// One instance of a model: a stub, and the batches that it executes.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "backend/attachment.h"
#include "backend/batch.h"
#include "backend/gather.h"
#include "backend/model.h"
#include "backend/state.h"
#include "ipc/codec.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

class Instance {
 public:
  // Starts the stub (or takes the model's prestarted one) and runs the model's initialize(). Throws
  // ipc::Error with what the load fails with.
  Instance(Model& model, TRITONBACKEND_ModelInstance* instance);

  // Answers every request, and releases it. One call at a time.
  void Execute(std::span<TRITONBACKEND_Request* const> requests) noexcept;

  // Throws ipc::Error unless the stub runs and the model's is_ready(), if it has one, says yes. Any thread.
  void CheckReady() const;

  // Runs the model's finalize(), for at most --backend-config=python,unload-timeout-seconds.
  void Finalize() noexcept;

 private:
  void Initialize();
  void Process(Batch& batch);
  void ProcessOneByOne(Batch& batch);
  void Exchange(Batch& batch);
  void TellResponders();
  void Answer(Batch& batch, std::span<const std::size_t> sent, const ipc::Reply& reply);
  [[nodiscard]] ipc::Error NotHealthy() const;

  Model& model_;  // outlives its instances
  TRITONBACKEND_ModelInstance* const instance_;
  InstanceFacts facts_;
  StateOutputs state_outputs_;
  std::unique_ptr<Attachment> attachment_;
  ipc::Writer body_;        // of the current message; kept for its memory
  bool decoupled_ = false;  // as the stub says
  bool responders_know_ = false;
  bool has_ready_check_ = false;  // the model defines is_ready()
  bool told_of_large_batches_ = false;
};

}  // namespace tpb::backend
