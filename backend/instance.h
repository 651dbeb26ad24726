// One instance of a model: its stub, whose generations follow each other, and the batches that they execute.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "backend/batch.h"
#include "backend/healer.h"
#include "backend/instance_metrics.h"
#include "backend/model.h"
#include "backend/stub_generation.h"
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
  bool TryExecute(Batch& batch);
  std::shared_ptr<StubGeneration> AwaitStub(const Batch& batch);
  void Process(Batch& batch, StubGeneration& stub);
  void ProcessOneByOne(Batch& batch, StubGeneration& stub);
  void Exchange(Batch& batch, StubGeneration& stub);
  [[noreturn]] void NoAnswer(Batch& batch, StubGeneration& stub, std::uint64_t asked_before);
  void Answer(Batch& batch, std::span<const std::size_t> sent, const ipc::Reply& reply, StubGeneration& stub);
  [[nodiscard]] Healer::Callbacks HealerCallbacks();

  Model& model_;  // outlives its instances
  TRITONBACKEND_ModelInstance* const instance_;
  const InstanceIdentity identity_;
  const std::shared_ptr<InstanceMetrics> metrics_;
  ipc::Writer body_;  // of the current message; kept for its memory
  bool told_of_large_batches_ = false;
  Healer healer_;  // last: its thread uses the rest
};

}  // namespace tpb::backend
