// The message loop: takes work from the server and gives each message exactly one answer.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "ipc/messages.h"
#include "stub/connection.h"
#include "stub/fork.h"
#include "stub/model.h"
#include "stub/ready_check.h"
#include "stub/requests.h"

namespace tpb::stub {

class Loop {
 public:
  // `before_end` is called when the model is finalized, before the server learns of it.
  Loop(std::shared_ptr<Connection> connection, std::function<void()> before_end, pybind11::object loader)
      : connection_(std::move(connection)),
        before_end_(std::move(before_end)),
        model_(std::move(loader)),
        ready_check_(connection_) {}

  // With the GIL held; it is released while there is nothing to do. Returns after the model was finalized.
  // Throws when the server is gone or breaks the protocol, and in a forked child of the model, which must not
  // go on serving.
  void Run();

 private:
  ipc::Slot Next();
  void Load(const ipc::Slot& work, std::span<const std::byte> body);
  void Execute(const ipc::Slot& work, std::span<const std::byte> body);
  void Finalize(const ipc::Slot& work);
  [[nodiscard]] pybind11::object MakeDone(const Batch& batch) const;
  void LeaveInForkedChild() const;

  // Encodes and sends; the blocks come back when the server has read what they hold. Throws Error when the
  // arena is full.
  void Send(const ipc::Slot& work, const ipc::Reply& reply, std::vector<ipc::Block> blocks);

  const std::shared_ptr<Connection> connection_;  // shared with calls in flight
  const std::function<void()> before_end_;
  Model model_;
  std::shared_ptr<const ModelFacts> facts_ = std::make_shared<ModelFacts>();  // shared with requests
  ReadyCheck ready_check_;                                                    // of the model
  const Birthplace birthplace_;
  ipc::Writer writer_;
};

}  // namespace tpb::stub
