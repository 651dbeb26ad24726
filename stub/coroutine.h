// Runs what an `async def execute` returns, on the calling thread, in an event loop that lives from batch to
// batch.
#pragma once

#include <pybind11/pybind11.h>

namespace tpb::stub {

// Used and destroyed with the GIL held. asyncio is imported when the first awaitable comes.
class EventLoop {
 public:
  static bool IsAwaitable(pybind11::handle object) noexcept;

  // Runs to completion and returns the result; other tasks of the loop run meanwhile.
  pybind11::object Run(const pybind11::object& awaitable);

  // Cancels what is still running and closes the loop.
  void Close();

 private:
  pybind11::object loop_;  // null until needed
};

}  // namespace tpb::stub
