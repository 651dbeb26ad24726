// The service thread of one stub: sleeps until its process ends, its socket speaks or one of its channels has
// an event. It never waits for the stub, so whatever a model's threads ask for is dealt with while the
// model's main thread is busy.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "backend/conversation.h"
#include "backend/poller.h"
#include "backend/supervisor/stub_process.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {

class Listener {
 public:
  struct Options {
    Conversation::Options channel;  // of the channels of forked children
    std::string package_version;
    std::string label;                                 // of the model or instance, for messages
    std::function<void(const std::string&)> complain;  // gets sentences for the log
    std::function<void(const std::string&)> condemn;   // the stub broke the protocol
    std::function<void()> gone;                        // the stub has ended
  };

  // What is borrowed outlives the listener. `ending`: an end is expected, so there is no complaint about it.
  Listener(Options options, const StubProcess& process, int socket,
           std::shared_ptr<Conversation> conversation, std::atomic<bool>& ending);
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
    std::shared_ptr<Conversation> conversation;
  };

  void Run() noexcept;
  void Listen();
  void WatchStub();
  bool HandleEvents();
  void ReadStubSocket();
  void ReadChildSocket(int socket);
  void TakeMessage(int socket, bool& closed);
  void Admit(ipc::UniqueFd socket);
  void MakeRoom();
  void Dismiss(int socket) noexcept;
  void ReadLastWords() noexcept;
  void KeepFailure(const std::string& failure);

  const Options options_;
  const StubProcess& process_;
  const int socket_;
  const std::shared_ptr<Conversation> conversation_;  // shared with the attachment and its calls
  std::atomic<bool>& ending_;

  Poller poller_;
  const ipc::UniqueFd stop_;       // an eventfd
  std::map<int, Child> children_;  // by socket
  bool process_ended_ = false;
  bool stopped_ = false;

  mutable std::mutex failure_mutex_;
  std::string failure_;

  std::thread thread_;
};

}  // namespace tpb::backend
