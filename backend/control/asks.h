// What a stub asks of the server that is no inference: metrics, and the control of models.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/bls/gateway.h"
#include "backend/control/metric_table.h"
#include "backend/control/model_control.h"
#include "ipc/messages.h"
#include "ipc/wire.h"

namespace tpb::backend {
class Conversation;
}

namespace tpb::backend::control {

// Of one conversation, which owns it; on its service thread, which nothing here keeps waiting.
class Asks {
 public:
  // Without a gateway or a control, no model can be controlled. `control` outlives the service thread.
  Asks(std::shared_ptr<bls::Gateway> gateway, ModelControl* control)
      : gateway_(std::move(gateway)), control_(control) {}

  // `body` is the private copy of a kAsk message. Throws ProtocolError for one that the stub may not send;
  // anything else that goes wrong is the answer.
  void Take(const std::shared_ptr<Conversation>& conversation, std::uint64_t id, std::vector<std::byte> body);

  // A kMetricUpdate. False when it came too late. Throws ProtocolError as above.
  bool Update(const ipc::Slot& slot);

  // Nobody is there any more who could use the metrics.
  void Close() noexcept { metrics_.Clear(); }

 private:
  class InProgress;

  void Begin(std::uint64_t size);
  void End(std::uint64_t size) noexcept;
  std::uint64_t AnswerNow(const ipc::Ask& ask);
  void AnswerLater(const std::shared_ptr<Conversation>& conversation, std::uint64_t id,
                   std::vector<std::byte> body, std::uint32_t slot);

  const std::shared_ptr<bls::Gateway> gateway_;
  ModelControl* const control_;
  MetricTable metrics_;
  // On threads of their own: how many, and the bytes of what they were asked.
  std::atomic<std::uint64_t> in_progress_{0};
  std::atomic<std::uint64_t> bytes_in_progress_{0};
};

}  // namespace tpb::backend::control
