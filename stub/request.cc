#include "stub/request.h"

#include <utility>

#include "ipc/error.h"
#include "stub/response_sender.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

[[noreturn]] void RefuseEmpty(const char* what, const RequestOptions& options) {
  throw ipc::Error(ipc::Code::kInvalidArg, std::string(what) + " for request with id '" + options.request_id +
                                               "' and model name '" + options.model_name +
                                               "' should not be empty.");
}

void Check(const RequestOptions& options) {
  for (const auto& input : options.inputs) {
    if (!input) {
      RefuseEmpty("Input tensor", options);
    }
  }
  for (const auto& name : options.requested_output_names) {
    if (name.empty()) {
      RefuseEmpty("Requested output name", options);
    }
  }
}

CorrelationId CorrelationOf(const ipc::Request& wire) {
  if (wire.correlation_is_text) {
    return std::string(wire.correlation_text);
  }
  return wire.correlation_id;
}

}  // namespace

InferenceRequest::InferenceRequest(RequestOptions options) {
  Check(options);
  request_id_ = std::move(options.request_id);
  correlation_id_ = std::move(options.correlation_id);
  inputs_ = std::move(options.inputs);
  requested_output_names_ = std::move(options.requested_output_names);
  model_name_ = std::move(options.model_name);
  model_version_ = options.model_version;
  flags_ = options.flags;
  timeout_us_ = options.timeout_us;
  parameters_ = std::move(options.parameters);
  priority_ = options.priority;
  trace_ = std::move(options.trace);
}

InferenceRequest::InferenceRequest(const ipc::Request& wire, std::vector<std::shared_ptr<Tensor>> inputs,
                                   std::shared_ptr<Connection> connection,
                                   std::shared_ptr<const ModelFacts> facts)
    : request_id_(wire.id),
      correlation_id_(CorrelationOf(wire)),
      inputs_(std::move(inputs)),
      requested_output_names_(wire.requested_outputs.begin(), wire.requested_outputs.end()),
      flags_(wire.flags),
      timeout_us_(wire.timeout_us),
      parameters_(ParametersFromWire(wire.parameters)),
      trace_{.context = std::string(wire.trace_context), .request = wire.response_id},
      connection_(std::move(connection)),
      response_id_(wire.response_id),
      facts_(std::move(facts)) {}

const std::shared_ptr<ResponseSender>& InferenceRequest::Sender() {
  if (!sender_) {
    sender_ = std::make_shared<ResponseSender>(connection_, response_id_, facts_, requested_output_names_);
  }
  return sender_;
}

bool InferenceRequest::IsCancelled() { return from_server() && Sender()->IsCancelled(); }

py::list InferenceRequest::Inputs() {
  if (!input_list_) {
    py::list list(inputs_.size());
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      list[i] = py::cast(inputs_[i]);
    }
    input_list_ = std::move(list);
  }
  auto copy = py::reinterpret_steal<py::list>(
      PyList_GetSlice(input_list_.ptr(), 0, static_cast<Py_ssize_t>(inputs_.size())));
  if (!copy) {
    throw py::error_already_set();
  }
  return copy;
}

std::string InferenceRequest::ParametersJson() const {
  return from_server() ? CompactJson(parameters_) : PythonJson(parameters_);
}

std::set<std::string> InferenceRequest::RequestedOutputNames() const {
  return {requested_output_names_.begin(), requested_output_names_.end()};
}

ipc::Call InferenceRequest::ToCall() const {
  ipc::Call call;
  call.model_name = model_name_;
  call.model_version = model_version_;
  call.request.id = request_id_;
  if (const auto* text = std::get_if<std::string>(&correlation_id_)) {
    call.request.correlation_text = *text;
    call.request.correlation_is_text = true;
  } else {
    call.request.correlation_id = std::get<std::uint64_t>(correlation_id_);
  }
  call.request.timeout_us = timeout_us_;
  call.request.priority = priority_;
  call.parent = trace_.request;
  call.request.flags = flags_;
  call.request.requested_outputs.assign(requested_output_names_.begin(), requested_output_names_.end());
  call.request.parameters = ParametersToWire(parameters_);
  return call;
}

}  // namespace tpb::stub
