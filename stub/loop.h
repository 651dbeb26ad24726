// The message loop: takes work from the server and gives each message exactly one answer.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "ipc/channel.h"
#include "ipc/messages.h"
#include "stub/fork.h"
#include "stub/lease.h"
#include "stub/model.h"

namespace tpb::stub {

class Loop {
 public:
  struct Context {
    ipc::StubChannel& channel;
    std::shared_ptr<LeaseBook> book;     // shared with the leases
    const std::atomic<bool>& peer_gone;  // ends a wait, once the channel's work ring is woken
    std::function<void()> before_end;    // called when the model is finalized, before the server learns of it
  };
  Loop(Context context, pybind11::object loader) : context_(std::move(context)), model_(std::move(loader)) {}

  // With the GIL held; it is released while there is nothing to do. Returns after the model was finalized.
  // Throws when the server is gone or breaks the protocol, and in a forked child of the model, which must not
  // go on serving.
  void Run();

 private:
  ipc::Slot Next();
  void Load(const ipc::Slot& work, std::span<const std::byte> body);
  void Execute(const ipc::Slot& work, std::span<const std::byte> body);
  void Finalize(const ipc::Slot& work);
  void LeaveInForkedChild() const;

  // Encodes and sends; the blocks come back when the server has read what they hold. Throws Error when the
  // arena is full.
  void Send(const ipc::Slot& work, const ipc::Reply& reply, std::vector<ipc::Block> blocks);

  Context context_;
  Model model_;
  const Birthplace birthplace_;
  ipc::Writer writer_;
};

}  // namespace tpb::stub
