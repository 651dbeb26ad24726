#include "stub/coroutine.h"

#include <utility>

namespace tpb::stub {

namespace py = pybind11;

bool EventLoop::IsAwaitable(py::handle object) noexcept {
  const PyAsyncMethods* methods = Py_TYPE(object.ptr())->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr;
}

void EventLoop::Start() {
  if (!loop_) {
    loop_ = py::module_::import("triton_python_backend_utils._event_loop").attr("EventLoop")();
  }
}

py::object EventLoop::Run(const py::object& awaitable) {
  Start();
  return loop_.attr("run")(awaitable);
}

void EventLoop::Submit(const py::object& awaitable, const py::object& done) {
  Start();
  loop_.attr("submit")(awaitable, done);
}

void EventLoop::Close() {
  if (const py::object loop = std::exchange(loop_, py::object())) {
    loop.attr("close")();
  }
}

}  // namespace tpb::stub
