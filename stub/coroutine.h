// Runs what an `async def execute` returns, in an event loop that lives from batch to batch on a thread of
// its own: triton_python_backend_utils._event_loop.
#pragma once

#include <pybind11/pybind11.h>

namespace tpb::stub {

// Used and destroyed with the GIL held.
class EventLoop {
 public:
  static bool IsAwaitable(pybind11::handle object) noexcept;

  // Before the first request, for a model that will need it: asyncio takes a while to import.
  void Start();

  // Runs to completion and returns the result; other tasks of the loop run meanwhile.
  pybind11::object Run(const pybind11::object& awaitable);

  // Runs by itself. `done` gets what it returned, and what it raised or None, on the loop's thread.
  void Submit(const pybind11::object& awaitable, const pybind11::object& done);

  // Cancels what is still running and closes the loop.
  void Close();

 private:
  pybind11::object loop_;  // null until needed
};

}  // namespace tpb::stub
