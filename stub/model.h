// The user's TritonPythonModel and its life: load, complete the configuration, initialize, execute, finalize.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <functional>
#include <string>

#include "ipc/messages.h"
#include "stub/coroutine.h"
#include "stub/model_facts.h"

namespace tpb::stub {

// Used and destroyed with the GIL held, on the thread that serves. Whatever the model raises comes out as
// pybind11::error_already_set, SystemExit and KeyboardInterrupt too.
class Model {
 public:
  // `loader` is the module triton_python_backend_utils._model_loader.
  explicit Model(pybind11::object loader) : loader_(std::move(loader)) {}

  // The configuration as the model wants it, as JSON.
  std::string AutoComplete(const ipc::Load& load);

  // Throws Error for a model that asks for what this version does not have.
  ModelFacts Initialize(const ipc::Load& load);

  // What says whether the model is ready: see `ready_check` of the loader. None when it defines no is_ready.
  [[nodiscard]] pybind11::object ready_check() const { return loader_.attr("ready_check")(model_); }

  // What execute returned; throws Error when the model has no execute. A coroutine is awaited, or, of a
  // decoupled model, goes on by itself and None is what it returned: then `done` gets the outcome.
  pybind11::object Execute(const pybind11::object& requests,
                           const std::function<pybind11::object()>& make_done);

  // Does nothing unless initialize went well. Afterwards the model is gone.
  void Finalize();

  // What it has printed reaches the server's log, whatever becomes of this process.
  void FlushOutput() const;

  // The error that a client learns of. Afterwards the exception has no traceback any more.
  [[nodiscard]] ipc::Error Describe(const pybind11::error_already_set& error) const;
  [[nodiscard]] const pybind11::object& loader() const noexcept { return loader_; }

 private:
  void LoadClass(const ipc::Load& load);

  pybind11::object loader_;
  std::string file_;
  pybind11::object class_;  // null until loaded
  pybind11::object model_;  // null until initialized
  pybind11::str execute_name_{"execute"};
  bool decoupled_ = false;
  EventLoop event_loop_;
};

// The same for an exception that was caught in Python; `loader` as above.
ipc::Error DescribeException(const pybind11::object& loader, const pybind11::object& exception);

}  // namespace tpb::stub
