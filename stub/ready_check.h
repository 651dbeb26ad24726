// Answers the server when it asks whether the model is ready: a thread of its own, so that the answer does
// not wait for a request that the model is working on. It exists only for a model that defines is_ready().
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "stub/connection.h"
#include "stub/fork.h"

namespace tpb::stub {

// Used and destroyed with the GIL held.
class ReadyCheck {
 public:
  explicit ReadyCheck(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
  ReadyCheck(const ReadyCheck&) = delete;
  ReadyCheck& operator=(const ReadyCheck&) = delete;
  ReadyCheck(ReadyCheck&&) = delete;
  ReadyCheck& operator=(ReadyCheck&&) = delete;
  ~ReadyCheck() { Stop(); }

  // `check` is a callable that returns a number of ipc::Readiness and a text, or None: then nothing is
  // started and this is false.
  bool Start(const pybind11::object& check);

  // No check begins afterwards; waits for one that runs, but not for ever.
  void Stop() noexcept;

 private:
  struct Shared;

  static void Serve(const std::shared_ptr<Shared>& shared, const pybind11::object& check);

  const std::shared_ptr<Connection> connection_;  // shared with the thread
  const Birthplace birthplace_;
  std::shared_ptr<Shared> shared_;  // with the thread; null without one
};

}  // namespace tpb::stub
