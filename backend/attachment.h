// One attached stub as the server sees it: its process, its channel and the thread that listens to it. The
// stub's own view of the same thing has the same name.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/bls/gateway.h"
#include "backend/conversation.h"
#include "backend/leases.h"
#include "backend/listener.h"
#include "backend/memory_watch.h"
#include "backend/payloads.h"
#include "backend/stub_output.h"
#include "backend/supervisor/spawner.h"
#include "backend/supervisor/stub_process.h"
#include "ipc/channel.h"
#include "ipc/deadline.h"
#include "ipc/messages.h"
#include "ipc/preparation.h"

namespace tpb::backend {

class Attachment {
 public:
  struct Options {
    std::string region_name;
    std::uint64_t max_bytes = 0;
    std::uint32_t event_slots = 1024;
    ipc::MemoryRules memory_rules = ipc::kDefaultMemoryRules;
    std::shared_ptr<ipc::Budget> memory_budget = nullptr;  // shared by all stubs
    std::chrono::seconds hello_timeout{30};
    std::string package_version;
    std::string label;                                 // of the model or instance, for messages
    std::function<void(const std::string&)> complain;  // gets sentences for the log; any thread
    std::function<void(const ipc::Step&)> report;      // gets what a launcher has done
    std::shared_ptr<bls::Gateway> gateway;             // its own; null: no calls to other models
    control::ModelControl* model_control = nullptr;    // outlives the attachment; null: no control
    int interrupt = -1;                                // readable: give up waiting for the stub's hello
    std::function<bool()> leaving = {};                // whether core waits for the last answer, to unload
    std::chrono::seconds leaving_timeout{120};         // how long it waits
    std::shared_ptr<std::atomic<std::uint64_t>> dropped = std::make_shared<std::atomic<std::uint64_t>>(0);
  };

  // Starts a stub and shakes hands with it. Throws ipc::Error when it ends, or does not speak in time.
  static std::unique_ptr<Attachment> Spawn(Spawner& spawner, const LaunchPlan& plan, Options options);

  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  Attachment(Attachment&&) = delete;
  Attachment& operator=(Attachment&&) = delete;

  // Kills what still runs.
  ~Attachment();

  // The answer to one message. Views into `body`; blocks that it names stay valid until Settle().
  struct Answer {
    std::vector<std::byte> body;
    ipc::Reply reply;
  };

  // Sends a work message and sleeps until it is answered, the stub has gone or the deadline has passed: then
  // nothing. A reply that breaks the protocol ends the stub. One thread at a time. Every Answer is followed
  // by Settle().
  std::optional<Answer> Exchange(ipc::MessageKind kind, std::span<const std::byte> body,
                                 ipc::Deadline deadline);

  // What the stub has asked of the server, ever: calls of other models, and control.
  [[nodiscard]] std::uint64_t asked() const noexcept {
    return options_.gateway ? options_.gateway->asked() : 0;
  }

  // Whether the stub has read the message of the last Exchange(): what it has not read it has not executed
  // either. Once gone().
  [[nodiscard]] bool HasReadLast() noexcept;

  // Gives back the reply and its blocks, and the leases of the exchange that the stub does not keep.
  void Settle(ExchangeLeases& leases, std::span<const std::uint64_t> kept);
  void Settle();  // of an exchange without leases

  // Where blocks for the next message come from, and who keeps them while the stub may look.
  [[nodiscard]] ipc::Arena& arena() const noexcept { return conversation_->arena(); }
  Leases& leases() noexcept { return conversation_->leases(); }
  Responders& responders() noexcept { return conversation_->responders(); }
  // It now serves an instance of `model`, which other models may wait for.
  void SetModel(const std::string& model) {
    if (options_.gateway) {
      options_.gateway->SetModel(model);
    }
  }
  MemoryWatch& memory_watch() noexcept { return memory_watch_; }

  // What the outputs of an Answer name, until Settle().
  [[nodiscard]] Payloads payloads() const noexcept { return conversation_->payloads(); }

  // Why the stub said that it cannot go on; empty if it said nothing. Valid once gone().
  [[nodiscard]] std::string failure() const { return listener_->failure(); }

  [[nodiscard]] bool gone() const noexcept { return gone_.load(std::memory_order_acquire); }
  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }

  // Asks the model's is_ready(). Throws ipc::Error unless that says yes in time. Any thread.
  void AskReady(const std::string& instance) { conversation_->ready_check().Ask(instance, gone_); }

  // The stub has broken the protocol, or is not wanted any more: SIGKILL, and everybody who waits for it
  // wakes.
  void Condemn(const std::string& why) noexcept;

  // The same for one that has been at its work for too long, after it has had a moment to print its stacks;
  // `why` is then how it ended.
  void EndStuck(const std::string& why) noexcept;

  // A stub that is there already now works for this instance: what it prints is logged under its name.
  void SetLabel(const std::string& label) { output_->SetLabel(label); }

  // Calls `on_gone` when the stub has died, once, on any thread; now, if it has.
  void OnGone(std::function<void()> on_gone);

  // How it ended, or is about to: "It was killed by signal 9 (Killed)."
  [[nodiscard]] std::string Epitaph() const;

  // The same for counting: "signal 9", "exit 1", "protocol", "stuck".
  [[nodiscard]] std::string Cause() const;

  // Whether the server itself ended it, in the middle of its work.
  [[nodiscard]] bool condemned() const;

  // An orderly end: asks the stub to run the model's finalize() and to leave, and kills it at the deadline.
  // Throws nothing: what goes wrong is complained about.
  void Finalize(ipc::Deadline deadline) noexcept;

  // Messages from the stub that named something unknown, and were dropped.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return conversation_->dropped(); }

 private:
  Attachment(pid_t pid, Options options, std::shared_ptr<Conversation> conversation,
             std::unique_ptr<StubOutput> output, ipc::UniqueFd socket);

  [[nodiscard]] Listener::Options ListenerOptions();
  void ShakeHands();
  enum class Heard { kHello, kEnd, kNothing, kInterrupt };
  Heard AwaitHello();
  bool TakeStep();
  [[nodiscard]] ipc::Error DiedAtStart(const std::string& when) const;
  void AwaitEnd() const;
  void PrintStacks() noexcept;
  bool PassSentence(const std::string& why, const char* cause) noexcept;
  void MarkGone() noexcept;
  void End(ipc::Deadline deadline) noexcept;
  std::optional<ipc::Slot> AwaitReply(std::uint64_t id, ipc::Deadline deadline);

  const Options options_;
  std::string last_step_;                             // of the launcher, if there is one
  const std::shared_ptr<Conversation> conversation_;  // shared with the listener and with calls in flight
  const std::unique_ptr<StubOutput> output_;
  MemoryWatch memory_watch_;  // of the conversation
  const ipc::UniqueFd socket_;
  StubProcess process_;

  std::atomic<bool> gone_{false};
  mutable std::mutex on_gone_mutex_;
  std::function<void()> on_gone_;  // under on_gone_mutex_; empty once called
  std::string verdict_;            // why the server ended it; under on_gone_mutex_, like the next
  std::string cause_;
  std::atomic<bool> ending_{false};  // an end is expected: no complaint about it
  std::uint64_t next_id_ = 1;
  bool last_pushed_ = false;
  bool reply_held_ = false;  // a reply sits in its ring until Settle()

  std::unique_ptr<Listener> listener_;  // borrows all of the above
};

}  // namespace tpb::backend
