#include "stub/coroutine.h"

#include <utility>

namespace tpb::stub {

namespace py = pybind11;

bool EventLoop::IsAwaitable(py::handle object) noexcept {
  const PyAsyncMethods* methods = Py_TYPE(object.ptr())->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr;
}

py::object EventLoop::Run(const py::object& awaitable) {
  if (!loop_) {
    loop_ = py::module_::import("asyncio").attr("new_event_loop")();
  }
  return loop_.attr("run_until_complete")(awaitable);
}

void EventLoop::Close() {
  if (!loop_) {
    return;
  }
  const py::object loop = std::exchange(loop_, py::object());
  const py::module_ asyncio = py::module_::import("asyncio");
  const py::object running = asyncio.attr("all_tasks")(loop);
  for (const auto& task : running) {
    task.attr("cancel")();
  }
  if (py::len(running) != 0) {
    const py::object all = asyncio.attr("gather")(*py::tuple(running), py::arg("return_exceptions") = true);
    loop.attr("run_until_complete")(all);
  }
  loop.attr("run_until_complete")(loop.attr("shutdown_asyncgens")());
  loop.attr("close")();
}

}  // namespace tpb::stub
