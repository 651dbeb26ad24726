#include <pybind11/stl.h>

#include <memory>
#include <utility>

#include "ipc/error.h"
#include "stub/bindings.h"
#include "stub/bls.h"
#include "stub/gil.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

// What the thread of triton_python_backend_utils._async_calls waits on: answers to calls that no thread waits
// for.
class Bell {
 public:
  explicit Bell(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  // Sleeps until something was answered; false when the server is gone, or this is a forked child.
  bool Wait() {
    const GilReleased no_gil;
    connection_->completions().Await([this] { return connection_->Gone(); });
    return !connection_->Gone();
  }

  // The same for each call over one connection.
  [[nodiscard]] std::uintptr_t Key() const noexcept {
    return reinterpret_cast<std::uintptr_t>(connection_.get());
  }

 private:
  const std::shared_ptr<Connection> connection_;
};

// (bell, call, None), or (None, None, response) for a call that cannot be.
py::tuple Prepare(const InferenceRequest& request, bool decoupled) {
  const Prepared prepared = PrepareInference(request, decoupled);
  if (!prepared.call) {
    return py::make_tuple(py::none(), py::none(), prepared.failure);
  }
  return py::make_tuple(Bell(prepared.connection), prepared.call, py::none());
}

// The answer to one call, as async_exec gives it: nothing yet, a response, or an iterator that has its first.
py::object ResultOf(const std::shared_ptr<PendingCall>& call, bool decoupled) {
  call->Poll();
  if (decoupled && (call->done() || !call->responses().empty())) {
    return py::cast(std::make_shared<ResponseIterator>(call));
  }
  if (!decoupled && call->done()) {
    return call->responses().empty()
               ? py::cast(FailedResponse(ipc::Code::kInternal, "Unexpected empty response."))
               : py::cast(call->responses().front());
  }
  return py::none();
}

std::shared_ptr<InferenceResponse> NextOf(ResponseIterator& iterator) {
  auto response = iterator.Next();
  if (!response) {
    py::set_error(PyExc_StopIteration, "Iteration is done for the responses.");
    throw py::error_already_set();
  }
  return response;
}

}  // namespace

void BindBls(py::module_& module) {
  py::class_<ResponseIterator, std::shared_ptr<ResponseIterator>>(module, "ResponseIterator")
      .def("__iter__",
           [](const std::shared_ptr<ResponseIterator>& self) {
             self->RewindAtEnd();
             return self;
           })
      .def("__next__", &NextOf)
      .def("cancel", &ResponseIterator::Cancel);

  py::class_<Bell>(module, "_Bell").def("wait", &Bell::Wait).def("key", &Bell::Key);
  py::class_<PendingCall, std::shared_ptr<PendingCall>>(module, "_Call")
      .def("send", &PendingCall::Send)
      .def("cancel", &PendingCall::Cancel)
      .def("result", &ResultOf, py::arg("decoupled"));
  module.def("_prepare_call", &Prepare, py::arg("request"), py::arg("decoupled"));
  module.def("_failed_call", [](const InferenceRequest& request, const std::string& why) {
    return NoInference(request, ipc::Error(ipc::Code::kUnavailable, why));
  });
}

}  // namespace tpb::stub
