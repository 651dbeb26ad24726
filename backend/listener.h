// The service thread of one stub: sleeps until its process ends, its socket speaks or one of its channels has
// an event. It never waits for the stub, so whatever a model's threads ask for is dealt with while the
// model's main thread is busy.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "backend/conversation.h"
#include "backend/memory_watch.h"
#include "backend/poller.h"
#include "backend/stub_output.h"
#include "backend/supervisor/stub_process.h"
#include "ipc/deadline.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {

class Listener {
 public:
  struct Options {
    Conversation::Options channel;  // of the channels of forked children
    std::string package_version;
    std::function<void(const std::string&)> complain;  // gets sentences for the log
    std::function<void(const std::string&)> condemn;   // the stub broke the protocol
    std::function<void()> gone;                        // the stub has ended
    std::function<std::string()> epitaph;              // how
    std::function<bool()> leaving;                     // whether core waits for its last answer; may be empty
    std::chrono::seconds leaving_timeout{120};         // then it is ended
    std::function<void(const std::string&)> end_stuck;
  };

  // What is listened to; outlives the listener.
  struct Stub {
    const StubProcess& process;
    int socket;
    StubOutput& output;
    MemoryWatch& memory;
    std::atomic<bool>& ending;  // an end is expected, so there is no complaint about it
  };

  Listener(Options options, const Stub& stub, std::shared_ptr<Conversation> conversation);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  Listener(Listener&&) = delete;
  Listener& operator=(Listener&&) = delete;
  ~Listener() { Stop(); }

  void Start();

  // Ends the thread; everything that the stub has sent before is dealt with.
  void Stop() noexcept;

  // Why the stub said that it cannot go on; empty if it said nothing.
  [[nodiscard]] std::string failure() const;

 private:
  struct Child {
    ipc::UniqueFd socket;
    ipc::UniqueFd pidfd;  // may be invalid
    std::shared_ptr<Conversation> conversation;
  };

  void Run() noexcept;
  void Listen();
  void WatchStub();
  void WatchOutput(StubOutput::Stream stream);
  [[nodiscard]] int Patience() const;
  void LookForCancelled() noexcept;
  void LookForLeaving();
  void ReadRest();
  void Salvage() noexcept;
  void NoteEnd();
  bool HandleEvents();
  void ReadStubSocket();
  void ReadChildSocket(int socket);
  void TakeMessage(int socket, bool& closed);
  void Admit(ipc::UniqueFd socket);
  void MakeRoom();
  void WatchChild(int socket, const Child& child);
  void Dismiss(int socket) noexcept;
  void ReadLastWords() noexcept;
  void KeepFailure(const std::string& failure);

  const Options options_;
  const Stub stub_;
  const std::shared_ptr<Conversation> conversation_;  // shared with the attachment and its calls

  Poller poller_;
  const ipc::UniqueFd stop_;       // an eventfd
  std::map<int, Child> children_;  // by socket
  ipc::Deadline::Clock::time_point looked_for_cancelled_;
  std::optional<ipc::Deadline> leaving_until_;
  bool process_ended_ = false;
  bool stopped_ = false;

  mutable std::mutex failure_mutex_;
  std::string failure_;

  std::thread thread_;
};

}  // namespace tpb::backend
