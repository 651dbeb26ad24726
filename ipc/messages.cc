#include "ipc/messages.h"

namespace tpb::ipc {
namespace {

std::uint32_t Count(std::size_t size) {
  if (size > kMaxCount) {
    throw Error(Code::kInvalidArg, "a message with " + std::to_string(size) +
                                       " entries of one kind: at most " + std::to_string(kMaxCount) +
                                       " are supported");
  }
  return static_cast<std::uint32_t>(size);
}

std::uint32_t CheckCount(std::uint32_t count, const char* of) {
  if (count > kMaxCount) {
    throw ProtocolError("a message claims " + std::to_string(count) + " " + of);
  }
  return count;
}

void EncodeTensor(const Tensor& tensor, Writer& writer) {
  writer.Put(TensorRecord{.dtype = static_cast<std::uint32_t>(tensor.dtype),
                          .memory_type = static_cast<std::uint32_t>(tensor.memory_type),
                          .device_id = tensor.device_id,
                          .place = static_cast<std::uint32_t>(tensor.place),
                          .reserved = 0,
                          .lease = tensor.lease,
                          .offset = tensor.offset,
                          .size = tensor.size});
  writer.PutString(tensor.name);
  if (tensor.shape.size() > kMaxDims) {
    throw Error(Code::kInvalidArg, "tensor '" + std::string(tensor.name) + "' has " +
                                       std::to_string(tensor.shape.size()) + " dimensions: at most " +
                                       std::to_string(kMaxDims) + " are supported");
  }
  writer.PutNumbers(tensor.shape);
}

Tensor DecodeTensor(Reader& reader) {
  const auto record = reader.Get<TensorRecord>();
  const auto dtype = DataTypeFromWire(record.dtype);
  const auto memory_type = MemoryTypeFromWire(record.memory_type);
  if (!dtype || !memory_type || record.place > static_cast<std::uint32_t>(Place::kStubArena)) {
    throw ProtocolError("a tensor with data type " + std::to_string(record.dtype) + ", memory type " +
                        std::to_string(record.memory_type) + " and place " + std::to_string(record.place));
  }
  Tensor tensor;
  tensor.dtype = *dtype;
  tensor.memory_type = *memory_type;
  tensor.device_id = record.device_id;
  tensor.place = static_cast<Place>(record.place);
  tensor.lease = record.lease;
  tensor.offset = record.offset;
  tensor.size = record.size;
  tensor.name = reader.GetString();
  tensor.shape = reader.GetNumbers(kMaxDims);
  return tensor;
}

void EncodeParameter(const Parameter& parameter, Writer& writer) {
  writer.Put(ParameterRecord{
      .type = static_cast<std::uint32_t>(parameter.type), .reserved = 0, .bits = parameter.bits});
  writer.PutString(parameter.name);
  writer.PutString(parameter.text);
}

Parameter DecodeParameter(Reader& reader) {
  const auto record = reader.Get<ParameterRecord>();
  if (record.type > static_cast<std::uint32_t>(ParameterType::kDouble)) {
    throw ProtocolError("a parameter of type " + std::to_string(record.type));
  }
  Parameter parameter;
  parameter.type = static_cast<ParameterType>(record.type);
  parameter.bits = record.bits;
  parameter.name = reader.GetString();
  parameter.text = reader.GetString();
  return parameter;
}

void EncodeRequest(const Request& request, Writer& writer) {
  writer.Put(RequestRecord{.correlation_id = request.correlation_id,
                           .timeout_us = request.timeout_us,
                           .priority = request.priority,
                           .response_id = request.response_id,
                           .flags = request.flags,
                           .correlation_is_text = request.correlation_is_text ? 1U : 0U,
                           .input_count = Count(request.inputs.size()),
                           .requested_output_count = Count(request.requested_outputs.size()),
                           .parameter_count = Count(request.parameters.size()),
                           .reserved = 0});
  writer.PutString(request.id);
  writer.PutString(request.correlation_text);
  writer.PutString(request.trace_context);
  for (const auto name : request.requested_outputs) {
    writer.PutString(name);
  }
  for (const auto& parameter : request.parameters) {
    EncodeParameter(parameter, writer);
  }
  for (const auto& input : request.inputs) {
    EncodeTensor(input, writer);
  }
}

Request DecodeRequest(Reader& reader) {
  const auto record = reader.Get<RequestRecord>();
  Request request;
  request.correlation_id = record.correlation_id;
  request.timeout_us = record.timeout_us;
  request.priority = record.priority;
  request.response_id = record.response_id;
  request.flags = record.flags;
  request.correlation_is_text = record.correlation_is_text != 0;
  request.id = reader.GetString();
  request.correlation_text = reader.GetString();
  request.trace_context = reader.GetString();
  for (std::uint32_t i = CheckCount(record.requested_output_count, "requested outputs"); i > 0; --i) {
    request.requested_outputs.push_back(reader.GetString());
  }
  for (std::uint32_t i = CheckCount(record.parameter_count, "parameters"); i > 0; --i) {
    request.parameters.push_back(DecodeParameter(reader));
  }
  for (std::uint32_t i = CheckCount(record.input_count, "inputs"); i > 0; --i) {
    request.inputs.push_back(DecodeTensor(reader));
  }
  return request;
}

void EncodeResponse(const Response& response, Writer& writer) {
  writer.Put(ResponseRecord{.kind = static_cast<std::uint32_t>(response.kind),
                            .code = static_cast<std::uint32_t>(response.code),
                            .output_count = Count(response.outputs.size()),
                            .parameter_count = Count(response.parameters.size())});
  writer.PutString(response.text);
  for (const auto& output : response.outputs) {
    EncodeTensor(output, writer);
  }
  for (const auto& parameter : response.parameters) {
    EncodeParameter(parameter, writer);
  }
}

Response DecodeResponse(Reader& reader) {
  const auto record = reader.Get<ResponseRecord>();
  if (record.kind > static_cast<std::uint32_t>(ResponseKind::kReschedule)) {
    throw ProtocolError("a response of kind " + std::to_string(record.kind));
  }
  Response response;
  response.kind = static_cast<ResponseKind>(record.kind);
  response.code = CodeFromWire(record.code);
  response.text = reader.GetString();
  for (std::uint32_t i = CheckCount(record.output_count, "outputs"); i > 0; --i) {
    response.outputs.push_back(DecodeTensor(reader));
  }
  for (std::uint32_t i = CheckCount(record.parameter_count, "parameters"); i > 0; --i) {
    response.parameters.push_back(DecodeParameter(reader));
  }
  return response;
}

void EncodeLeases(const std::vector<LeaseRecord>& leases, Writer& writer) {
  writer.Put(static_cast<std::uint64_t>(Count(leases.size())));
  for (const auto& lease : leases) {
    writer.Put(lease);
  }
}

std::vector<LeaseRecord> DecodeLeases(Reader& reader) {
  std::vector<LeaseRecord> leases;
  for (auto i = reader.Get<std::uint64_t>(); i > 0; --i) {
    leases.push_back(reader.Get<LeaseRecord>());
  }
  return leases;
}

}  // namespace

void Encode(const Execute& message, Writer& writer) {
  EncodeLeases(message.leases, writer);
  writer.Put(static_cast<std::uint64_t>(Count(message.requests.size())));
  for (const auto& request : message.requests) {
    EncodeRequest(request, writer);
  }
}

Execute DecodeExecute(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  Execute message;
  message.leases = DecodeLeases(reader);
  for (auto i = reader.Get<std::uint64_t>(); i > 0; --i) {
    message.requests.push_back(DecodeRequest(reader));
  }
  reader.ExpectEnd();
  return message;
}

void Encode(const Load& message, Writer& writer) {
  for (const auto text : {message.model_name, message.model_version, message.model_repository,
                          message.model_file, message.backend_dir, message.config_json, message.instance_name,
                          message.instance_kind, message.instance_device_id}) {
    writer.PutString(text);
  }
}

Load DecodeLoad(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  Load message;
  for (auto* text : {&message.model_name, &message.model_version, &message.model_repository,
                     &message.model_file, &message.backend_dir, &message.config_json, &message.instance_name,
                     &message.instance_kind, &message.instance_device_id}) {
    *text = reader.GetString();
  }
  reader.ExpectEnd();
  return message;
}

void Encode(const Reply& message, Writer& writer) {
  writer.Put(ReplyRecord{.failed = message.failed ? 1U : 0U,
                         .code = static_cast<std::uint32_t>(message.code),
                         .response_count = Count(message.responses.size()),
                         .kept_count = Count(message.kept.size()),
                         .max_batch_size = message.max_batch_size,
                         .flags = message.flags,
                         .state_count = Count(message.state_outputs.size()),
                         .execute_timeout_ms = message.execute_timeout_ms});
  writer.PutString(message.text);
  for (const auto lease : message.kept) {
    writer.Put(lease);
  }
  for (const auto& response : message.responses) {
    EncodeResponse(response, writer);
  }
  for (const auto name : message.state_outputs) {
    writer.PutString(name);
  }
}

Reply DecodeReply(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  const auto record = reader.Get<ReplyRecord>();
  Reply message;
  message.failed = record.failed != 0;
  message.code = CodeFromWire(record.code);
  message.max_batch_size = record.max_batch_size;
  message.flags = record.flags;
  message.execute_timeout_ms = record.execute_timeout_ms;
  message.text = reader.GetString();
  for (std::uint32_t i = CheckCount(record.kept_count, "kept leases"); i > 0; --i) {
    message.kept.push_back(reader.Get<std::uint64_t>());
  }
  for (std::uint32_t i = CheckCount(record.response_count, "responses"); i > 0; --i) {
    message.responses.push_back(DecodeResponse(reader));
  }
  for (std::uint32_t i = CheckCount(record.state_count, "state outputs"); i > 0; --i) {
    message.state_outputs.push_back(reader.GetString());
  }
  reader.ExpectEnd();
  return message;
}

void Encode(const Response& message, Writer& writer) { EncodeResponse(message, writer); }

Response DecodeResponse(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  Response message = DecodeResponse(reader);
  reader.ExpectEnd();
  return message;
}

void Encode(const Call& message, Writer& writer) {
  writer.Put(CallRecord{.model_version = message.model_version,
                        .parent = message.parent,
                        .slot = message.slot,
                        .flags = message.flags});
  writer.PutString(message.model_name);
  EncodeRequest(message.request, writer);
}

Call DecodeCall(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  const auto record = reader.Get<CallRecord>();
  Call message;
  message.model_version = record.model_version;
  message.parent = record.parent;
  message.slot = record.slot;
  message.flags = record.flags;
  message.model_name = reader.GetString();
  message.request = DecodeRequest(reader);
  reader.ExpectEnd();
  return message;
}

void Encode(const CallAnswer& message, Writer& writer) {
  writer.Put(
      CallAnswerRecord{.response_count = Count(message.responses.size()), .last = message.last ? 1U : 0U});
  EncodeLeases(message.leases, writer);
  for (const auto& response : message.responses) {
    EncodeResponse(response, writer);
  }
}

void EncodeCallAnswer(const std::vector<LeaseRecord>& leases,
                      std::span<const std::vector<std::byte>> responses, bool last, Writer& writer) {
  writer.Put(CallAnswerRecord{.response_count = Count(responses.size()), .last = last ? 1U : 0U});
  EncodeLeases(leases, writer);
  for (const auto& response : responses) {
    writer.PutEncoded(response);
  }
}

CallAnswer DecodeCallAnswer(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  CallAnswer message;
  const auto record = reader.Get<CallAnswerRecord>();
  message.last = record.last != 0;
  message.leases = DecodeLeases(reader);
  for (std::uint32_t i = CheckCount(record.response_count, "responses"); i > 0; --i) {
    message.responses.push_back(DecodeResponse(reader));
  }
  reader.ExpectEnd();
  return message;
}

void Encode(const LogLine& message, Writer& writer) {
  writer.Put(LogRecord{.level = static_cast<std::uint32_t>(message.level), .line = message.line});
  writer.PutString(message.file);
  writer.PutString(message.text);
}

LogLine DecodeLogLine(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  const auto record = reader.Get<LogRecord>();
  if (record.level > static_cast<std::uint32_t>(LogLevel::kVerbose)) {
    throw ProtocolError("a line for the log of level " + std::to_string(record.level));
  }
  LogLine message;
  message.level = static_cast<LogLevel>(record.level);
  message.line = record.line;
  message.file = reader.GetString();
  message.text = reader.GetString();
  reader.ExpectEnd();
  return message;
}

}  // namespace tpb::ipc
