// The messages of the protocol as dictionaries: text is `bytes`, enumerations are their numbers, records are
// dictionaries or tuples in turn.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

#include "ipc/codec.h"
#include "ipc/messages.h"
#include "tests/cpp/ipc_testing.h"

namespace py = pybind11;

namespace tpb::testing {
namespace {

// What the views in a message point at while it is encoded. The texts lie in the dictionaries.
using Shapes = std::deque<std::vector<std::int64_t>>;

template <typename Value>
Value Get(const py::dict& from, const char* key) {
  return from[key].cast<Value>();
}

// A view into a `bytes` object, which must be what the dictionary holds: never a temporary.
std::string_view View(py::handle bytes) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(bytes.ptr(), &data, &size) != 0) {
    throw py::error_already_set();
  }
  return {data, static_cast<std::size_t>(size)};
}

std::string_view Text(const py::dict& from, const char* key) { return View(py::object(from[key])); }

template <typename Convert>
auto Each(const py::dict& from, const char* key, Convert convert) {
  std::vector<decltype(convert(py::handle()))> all;
  for (const py::handle item : py::list(from[key])) {
    all.push_back(convert(item));
  }
  return all;
}

template <typename Values, typename Convert>
py::list List(const Values& values, Convert convert) {
  py::list list;
  for (const auto& value : values) {
    list.append(convert(value));
  }
  return list;
}

py::bytes FromText(std::string_view text) { return {text.data(), text.size()}; }

template <typename Enumeration>
Enumeration Number(const py::dict& from, const char* key) {
  return static_cast<Enumeration>(Get<std::uint32_t>(from, key));
}

template <typename Enumeration>
std::uint32_t FromNumber(Enumeration value) {
  return static_cast<std::uint32_t>(value);
}

ipc::Tensor ToTensor(const py::dict& from, Shapes& shapes) {
  shapes.push_back(Each(from, "shape", [](py::handle dim) { return dim.cast<std::int64_t>(); }));
  return {.name = Text(from, "name"),
          .dtype = Number<ipc::DataType>(from, "dtype"),
          .shape = shapes.back(),
          .memory_type = Number<ipc::MemoryType>(from, "memory_type"),
          .device_id = Get<std::int64_t>(from, "device_id"),
          .place = Number<ipc::Place>(from, "place"),
          .lease = Get<std::uint64_t>(from, "lease"),
          .offset = Get<std::uint64_t>(from, "offset"),
          .size = Get<std::uint64_t>(from, "size")};
}

py::dict FromTensor(const ipc::Tensor& tensor) {
  py::dict to;
  to["name"] = FromText(tensor.name);
  to["dtype"] = FromNumber(tensor.dtype);
  to["shape"] = List(tensor.shape, [](std::int64_t dim) { return py::int_(dim); });
  to["memory_type"] = FromNumber(tensor.memory_type);
  to["device_id"] = tensor.device_id;
  to["place"] = FromNumber(tensor.place);
  to["lease"] = tensor.lease;
  to["offset"] = tensor.offset;
  to["size"] = tensor.size;
  return to;
}

ipc::Parameter ToParameter(const py::dict& from) {
  return {.name = Text(from, "name"),
          .type = Number<ipc::ParameterType>(from, "type"),
          .bits = Get<std::uint64_t>(from, "bits"),
          .text = Text(from, "text")};
}

py::dict FromParameter(const ipc::Parameter& parameter) {
  py::dict to;
  to["name"] = FromText(parameter.name);
  to["type"] = FromNumber(parameter.type);
  to["bits"] = parameter.bits;
  to["text"] = FromText(parameter.text);
  return to;
}

std::vector<ipc::Tensor> ToTensors(const py::dict& from, const char* key, Shapes& shapes) {
  return Each(from, key, [&shapes](py::handle item) { return ToTensor(item.cast<py::dict>(), shapes); });
}

std::vector<ipc::Parameter> ToParameters(const py::dict& from) {
  return Each(from, "parameters", [](py::handle item) { return ToParameter(item.cast<py::dict>()); });
}

ipc::Request ToRequest(const py::dict& from, Shapes& shapes) {
  return {.id = Text(from, "id"),
          .correlation_text = Text(from, "correlation_text"),
          .correlation_id = Get<std::uint64_t>(from, "correlation_id"),
          .correlation_is_text = Get<bool>(from, "correlation_is_text"),
          .timeout_us = Get<std::uint64_t>(from, "timeout_us"),
          .priority = Get<std::uint64_t>(from, "priority"),
          .response_id = Get<std::uint64_t>(from, "response_id"),
          .flags = Get<std::uint32_t>(from, "flags"),
          .trace_context = Text(from, "trace_context"),
          .requested_outputs = Each(from, "requested_outputs", View),
          .parameters = ToParameters(from),
          .inputs = ToTensors(from, "inputs", shapes)};
}

py::dict FromRequest(const ipc::Request& request) {
  py::dict to;
  to["id"] = FromText(request.id);
  to["correlation_text"] = FromText(request.correlation_text);
  to["correlation_id"] = request.correlation_id;
  to["correlation_is_text"] = request.correlation_is_text;
  to["timeout_us"] = request.timeout_us;
  to["priority"] = request.priority;
  to["response_id"] = request.response_id;
  to["trace_context"] = FromText(request.trace_context);
  to["flags"] = request.flags;
  to["requested_outputs"] = List(request.requested_outputs, FromText);
  to["parameters"] = List(request.parameters, FromParameter);
  to["inputs"] = List(request.inputs, FromTensor);
  return to;
}

ipc::LeaseRecord ToLease(py::handle item) {
  const auto fields = item.cast<py::tuple>();
  return {.lease = fields[0].cast<std::uint64_t>(),
          .offset = fields[1].cast<std::uint64_t>(),
          .size = fields[2].cast<std::uint64_t>()};
}

py::tuple FromLease(const ipc::LeaseRecord& lease) {
  return py::make_tuple(lease.lease, lease.offset, lease.size);
}

ipc::Execute ToExecute(const py::dict& from, Shapes& shapes) {
  return {.leases = Each(from, "leases", ToLease),
          .requests = Each(from, "requests",
                           [&shapes](py::handle item) { return ToRequest(item.cast<py::dict>(), shapes); })};
}

py::dict FromExecute(const ipc::Execute& message) {
  py::dict to;
  to["leases"] = List(message.leases, FromLease);
  to["requests"] = List(message.requests, FromRequest);
  return to;
}

ipc::Load ToLoad(const py::dict& from, Shapes& /*none*/) {
  return {.model_name = Text(from, "model_name"),
          .model_version = Text(from, "model_version"),
          .model_repository = Text(from, "model_repository"),
          .model_file = Text(from, "model_file"),
          .backend_dir = Text(from, "backend_dir"),
          .config_json = Text(from, "config_json"),
          .instance_name = Text(from, "instance_name"),
          .instance_kind = Text(from, "instance_kind"),
          .instance_device_id = Text(from, "instance_device_id")};
}

py::dict FromLoad(const ipc::Load& message) {
  py::dict to;
  to["model_name"] = FromText(message.model_name);
  to["model_version"] = FromText(message.model_version);
  to["model_repository"] = FromText(message.model_repository);
  to["model_file"] = FromText(message.model_file);
  to["backend_dir"] = FromText(message.backend_dir);
  to["config_json"] = FromText(message.config_json);
  to["instance_name"] = FromText(message.instance_name);
  to["instance_kind"] = FromText(message.instance_kind);
  to["instance_device_id"] = FromText(message.instance_device_id);
  return to;
}

ipc::Response ToResponse(const py::dict& from, Shapes& shapes) {
  return {.kind = Number<ipc::ResponseKind>(from, "kind"),
          .code = Number<ipc::Code>(from, "code"),
          .text = Text(from, "text"),
          .outputs = ToTensors(from, "outputs", shapes),
          .parameters = ToParameters(from)};
}

py::dict FromResponse(const ipc::Response& response) {
  py::dict to;
  to["kind"] = FromNumber(response.kind);
  to["code"] = FromNumber(response.code);
  to["text"] = FromText(response.text);
  to["outputs"] = List(response.outputs, FromTensor);
  to["parameters"] = List(response.parameters, FromParameter);
  return to;
}

ipc::Reply ToReply(const py::dict& from, Shapes& shapes) {
  return {.failed = Get<bool>(from, "failed"),
          .code = Number<ipc::Code>(from, "code"),
          .text = Text(from, "text"),
          .kept = Each(from, "kept", [](py::handle item) { return item.cast<std::uint64_t>(); }),
          .responses = Each(from, "responses",
                            [&shapes](py::handle item) { return ToResponse(item.cast<py::dict>(), shapes); }),
          .state_outputs = Each(from, "state_outputs", View)};
}

py::dict FromReply(const ipc::Reply& message) {
  py::dict to;
  to["failed"] = message.failed;
  to["code"] = FromNumber(message.code);
  to["text"] = FromText(message.text);
  to["kept"] = List(message.kept, [](std::uint64_t lease) { return py::int_(lease); });
  to["responses"] = List(message.responses, FromResponse);
  to["state_outputs"] = List(message.state_outputs, FromText);
  return to;
}

ipc::Call ToCall(const py::dict& from, Shapes& shapes) {
  return {.model_name = Text(from, "model_name"),
          .model_version = Get<std::int64_t>(from, "model_version"),
          .parent = Get<std::uint64_t>(from, "parent"),
          .slot = Get<std::uint32_t>(from, "slot"),
          .flags = Get<std::uint32_t>(from, "flags"),
          .request = ToRequest(Get<py::dict>(from, "request"), shapes)};
}

py::dict FromCall(const ipc::Call& message) {
  py::dict to;
  to["model_name"] = FromText(message.model_name);
  to["model_version"] = message.model_version;
  to["parent"] = message.parent;
  to["slot"] = message.slot;
  to["flags"] = message.flags;
  to["request"] = FromRequest(message.request);
  return to;
}

ipc::CallAnswer ToCallAnswer(const py::dict& from, Shapes& shapes) {
  return {.leases = Each(from, "leases", ToLease),
          .responses = Each(from, "responses",
                            [&](py::handle one) { return ToResponse(one.cast<py::dict>(), shapes); }),
          .last = Get<bool>(from, "last")};
}

py::dict FromCallAnswer(const ipc::CallAnswer& message) {
  py::dict to;
  to["leases"] = List(message.leases, FromLease);
  to["responses"] = List(message.responses, FromResponse);
  to["last"] = message.last;
  return to;
}

ipc::LogLine ToLogLine(const py::dict& from, Shapes& /*none*/) {
  return {.level = Number<ipc::LogLevel>(from, "level"),
          .line = Get<std::uint32_t>(from, "line"),
          .file = Text(from, "file"),
          .text = Text(from, "text")};
}

py::dict FromLogLine(const ipc::LogLine& message) {
  py::dict to;
  to["level"] = FromNumber(message.level);
  to["line"] = message.line;
  to["file"] = FromText(message.file);
  to["text"] = FromText(message.text);
  return to;
}

template <auto kConvert>
py::bytes Encoded(const py::dict& from) {
  Shapes shapes;
  ipc::Writer writer;
  ipc::Encode(kConvert(from, shapes), writer);
  const auto bytes = writer.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// From private memory of exactly its size, as the two processes do it.
template <auto kDecode, auto kConvert>
py::dict Decoded(const py::bytes& from) {
  const auto text = std::as_bytes(std::span(View(from)));
  const std::vector<std::byte> bytes(text.begin(), text.end());
  return kConvert(kDecode(bytes));
}

}  // namespace

void BindMessages(py::module_& module) {
  module.def("encode_execute", &Encoded<ToExecute>);
  module.def("decode_execute", &Decoded<ipc::DecodeExecute, FromExecute>);
  module.def("encode_load", &Encoded<ToLoad>);
  module.def("decode_load", &Decoded<ipc::DecodeLoad, FromLoad>);
  module.def("encode_reply", &Encoded<ToReply>);
  module.def("decode_reply", &Decoded<ipc::DecodeReply, FromReply>);
  module.def("encode_call", &Encoded<ToCall>);
  module.def("decode_call", &Decoded<ipc::DecodeCall, FromCall>);
  module.def("encode_call_answer", &Encoded<ToCallAnswer>);
  module.def("decode_call_answer", &Decoded<ipc::DecodeCallAnswer, FromCallAnswer>);
  module.def("encode_log_line", &Encoded<ToLogLine>);
  module.def("decode_log_line", &Decoded<ipc::DecodeLogLine, FromLogLine>);
}

}  // namespace tpb::testing
