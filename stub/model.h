// The user's TritonPythonModel and its life: load, complete the configuration, initialize, execute, finalize.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "ipc/messages.h"
#include "stub/coroutine.h"

namespace tpb::stub {

// Used and destroyed with the GIL held, on the thread that serves. Whatever the model raises comes out as
// pybind11::error_already_set, SystemExit and KeyboardInterrupt too.
class Model {
 public:
  // `loader` is the module triton_python_backend_utils._model_loader.
  explicit Model(pybind11::object loader) : loader_(std::move(loader)) {}

  // The configuration as the model wants it, as JSON.
  std::string AutoComplete(const ipc::Load& load);

  // Returns the configuration's max_batch_size. Throws Error for a model that asks for what this version does
  // not have.
  std::uint32_t Initialize(const ipc::Load& load);

  // What says whether the model is ready: see `ready_check` of the loader. None when it defines no is_ready.
  [[nodiscard]] pybind11::object ready_check() const { return loader_.attr("ready_check")(model_); }

  // What execute returned, awaited when it is a coroutine. Throws Error when the model has no execute.
  pybind11::object Execute(const pybind11::object& requests);

  // Does nothing unless initialize went well. Afterwards the model is gone.
  void Finalize();

  // The error that a client learns of. Afterwards the exception has no traceback any more.
  [[nodiscard]] ipc::Error Describe(const pybind11::error_already_set& error) const;

 private:
  void LoadClass(const ipc::Load& load);

  pybind11::object loader_;
  std::string file_;
  pybind11::object class_;  // null until loaded
  pybind11::object model_;  // null until initialized
  pybind11::str execute_name_{"execute"};
  EventLoop event_loop_;
};

}  // namespace tpb::stub
