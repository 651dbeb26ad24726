// What this process shares with a server for one model instance: the socket, the channel over it and the
// bookkeeping of both. Any thread may use it: calls to other models go through here.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ipc/call_slots.h"
#include "ipc/cancellation.h"
#include "ipc/channel.h"
#include "ipc/handshake.h"
#include "ipc/unique_fd.h"
#include "stub/fork.h"
#include "stub/lease.h"
#include "stub/orphans.h"
#include "stub/shared_flag.h"

namespace tpb::stub {

// Shared by the attachment, by calls in flight and by the registry below.
class Connection {
 public:
  // `parent`: whose forked child this is the connection of; null for none.
  Connection(ipc::UniqueFd socket, ipc::Welcome welcome, const Connection* parent = nullptr);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  Connection(Connection&&) = delete;
  Connection& operator=(Connection&&) = delete;
  ~Connection();

  [[nodiscard]] int socket() const noexcept { return socket_.get(); }
  [[nodiscard]] ipc::StubChannel& channel() noexcept { return *channel_; }
  [[nodiscard]] const std::shared_ptr<ipc::StubChannel>& shared_channel() const noexcept { return channel_; }
  [[nodiscard]] const std::shared_ptr<LeaseBook>& book() const noexcept { return book_; }
  [[nodiscard]] ipc::CallSlots& call_slots() noexcept { return call_slots_; }
  [[nodiscard]] ipc::CancellationWords& cancellation_words() noexcept { return cancellation_words_; }
  [[nodiscard]] ipc::Completions& completions() noexcept { return completions_; }
  [[nodiscard]] Orphans& orphans() noexcept { return orphans_; }
  [[nodiscard]] bool InForkedChild() const noexcept { return birthplace_.InForkedChild(); }

  // The server is gone.
  [[nodiscard]] bool Gone() const noexcept;
  [[nodiscard]] const std::atomic<bool>& gone() const noexcept { return gone_; }
  void MarkGone() noexcept;

  // Between the end of initialize and the start of finalize, also for children that were forked before.
  [[nodiscard]] bool calls_allowed() const noexcept { return calls_allowed_->is_on(); }
  void AllowCalls(bool allowed) noexcept { calls_allowed_->Turn(allowed); }

  // Models may be loaded and unloaded from the start of initialize to that of finalize; children as above.
  [[nodiscard]] bool control_allowed() const noexcept { return control_allowed_->is_on(); }
  void AllowControl(bool allowed) noexcept { control_allowed_->Turn(allowed); }

  // The folder of the model's version. With the GIL held.
  void SetModelDir(std::string folder) { model_dir_ = std::move(folder); }
  [[nodiscard]] const std::string& model_dir() const noexcept { return model_dir_; }

  std::uint64_t NextCallId() noexcept { return next_call_.fetch_add(1, std::memory_order_relaxed); }

  // Hands an event over, with the blocks that it names; waits for room in the ring. Without the GIL. Throws
  // Error when the server is gone.
  void PushEvent(const ipc::Slot& slot, std::vector<ipc::Block>& blocks);

  // The connection that calls from this thread go through: that of the instance which this thread serves,
  // else the only one of the process, else null. In a forked child of a model it is one of the child's own,
  // opened when it is first asked for. With the GIL held. Throws Error when the server refuses.
  static std::shared_ptr<Connection> Current();

  // The calling thread serves an instance: while it waits, that executes nothing. Never in a forked child.
  static bool IsServingHere() noexcept;
  // The same, but in a forked child that has not called yet it is its parent's, which it may only look at.
  static std::shared_ptr<Connection> Inherited();

  // Says which connection the calling thread serves, for as long as it lives. With the GIL held.
  class Serving {
   public:
    explicit Serving(std::shared_ptr<Connection> connection);
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    Serving(Serving&&) = delete;
    Serving& operator=(Serving&&) = delete;
    ~Serving();
  };

 private:
  const Birthplace birthplace_;
  const ipc::UniqueFd socket_;
  const std::shared_ptr<ipc::StubChannel> channel_;  // shared with the book and the log
  const std::shared_ptr<LeaseBook> book_;            // shared with the leases
  ipc::CallSlots call_slots_;
  ipc::CancellationWords cancellation_words_;
  ipc::Completions completions_;
  bool of_child_ = false;  // of a forked child
  std::atomic<bool> gone_{false};
  const std::shared_ptr<SharedFlag> calls_allowed_;    // shared with the connections of forked children
  const std::shared_ptr<SharedFlag> control_allowed_;  // as well
  std::string model_dir_;
  std::atomic<std::uint64_t> next_call_{1};
  Orphans orphans_{*this};
};

}  // namespace tpb::stub
