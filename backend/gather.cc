#include "backend/gather.h"

#include <cstring>
#include <string_view>
#include <utility>

#include "backend/parameter.h"
#include "backend/triton_error.h"
#include "ipc/bytes.h"
#include "ipc/copy.h"
#include "ipc/dtype.h"
#include "ipc/messages.h"

namespace tpb::backend {
namespace {

// Below this the payloads of all inputs share one block: an allocation costs more than a few unused bytes.
constexpr std::uint64_t kShareBlockBelow = 16384;

constexpr std::uint64_t Aligned(std::uint64_t size) {
  return (size + ipc::kAlignment - 1) / ipc::kAlignment * ipc::kAlignment;
}

struct Input {
  TRITONBACKEND_Input* handle = nullptr;
  std::uint32_t buffers = 0;
  std::size_t group = 0;
};

// What one request asks for; `message` is what the stub will see of it.
struct Asked {
  std::size_t item = 0;
  ipc::Request message;
  std::vector<Input> inputs;  // parallel to message.inputs
};

// The pieces of the inputs of one name.
struct Group {
  std::string_view name;
  std::uint64_t size = 0;
  std::uint64_t lease = 0;
  std::uint64_t base = 0;  // within the leased block
  std::byte* data = nullptr;
};

void ReadInputs(TRITONBACKEND_Request* request, Asked& asked) {
  const auto& api = triton::Api();
  std::uint32_t count = 0;
  Check(api.TRITONBACKEND_RequestInputCount(request, &count));
  asked.inputs.resize(count);
  asked.message.inputs.resize(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    Input& input = asked.inputs[i];
    ipc::Tensor& tensor = asked.message.inputs[i];
    Check(api.TRITONBACKEND_RequestInputByIndex(request, i, &input.handle));
    const char* name = nullptr;
    TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_INVALID;
    const std::int64_t* shape = nullptr;
    std::uint32_t dims = 0;
    Check(api.TRITONBACKEND_InputProperties(input.handle, &name, &dtype, &shape, &dims, &tensor.size,
                                            &input.buffers));
    tensor.name = name;
    tensor.dtype = static_cast<ipc::DataType>(dtype);
    tensor.shape = {shape, dims};
  }
}

void ReadRequestedOutputs(TRITONBACKEND_Request* request, ipc::Request& message) {
  const auto& api = triton::Api();
  std::uint32_t count = 0;
  Check(api.TRITONBACKEND_RequestOutputCount(request, &count));
  message.requested_outputs.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    Check(api.TRITONBACKEND_RequestOutputName(request, i, &name));
    message.requested_outputs.emplace_back(name);
  }
}

ipc::Parameter ReadParameter(TRITONBACKEND_Request* request, std::uint32_t index) {
  const char* name = nullptr;
  TRITONSERVER_ParameterType type = TRITONSERVER_PARAMETER_STRING;
  const void* value = nullptr;
  Check(triton::Api().TRITONBACKEND_RequestParameter(request, index, &name, &type, &value));
  return MakeParameter(name, type, value);
}

void ReadCorrelationId(TRITONBACKEND_Request* request, ipc::Request& message) {
  const auto& api = triton::Api();
  TRITONSERVER_Error* error = api.TRITONBACKEND_RequestCorrelationId(request, &message.correlation_id);
  if (error == nullptr) {
    return;
  }
  api.TRITONSERVER_ErrorDelete(error);  // it is not a number
  const char* text = nullptr;
  Check(api.TRITONBACKEND_RequestCorrelationIdString(request, &text));
  message.correlation_text = text;
  message.correlation_is_text = true;
}

// Empty without tracing, or in a core that has none.
std::string_view TraceContext(TRITONBACKEND_Request* request) noexcept {
  const auto& api = triton::Api();
  TRITONSERVER_InferenceTrace* trace = nullptr;
  const char* context = nullptr;
  TRITONSERVER_Error* error = api.TRITONBACKEND_RequestTrace(request, &trace);
  if (error == nullptr && trace != nullptr) {
    error = api.TRITONSERVER_InferenceTraceContext(trace, &context);
  }
  if (error != nullptr) {
    api.TRITONSERVER_ErrorDelete(error);
    return {};
  }
  return context == nullptr ? std::string_view() : std::string_view(context);
}

void ReadRequest(TRITONBACKEND_Request* request, Asked& asked) {
  const auto& api = triton::Api();
  ipc::Request& message = asked.message;
  const char* id = nullptr;
  Check(api.TRITONBACKEND_RequestId(request, &id));
  message.id = id;
  ReadCorrelationId(request, message);
  Check(api.TRITONBACKEND_RequestFlags(request, &message.flags));
  Check(api.TRITONBACKEND_InferenceRequestTimeoutMicroseconds(request, &message.timeout_us));
  message.trace_context = TraceContext(request);
  std::uint32_t parameters = 0;
  Check(api.TRITONBACKEND_RequestParameterCount(request, &parameters));
  for (std::uint32_t i = 0; i < parameters; ++i) {
    message.parameters.push_back(ReadParameter(request, i));
  }
  ReadRequestedOutputs(request, message);
  ReadInputs(request, asked);
}

std::size_t GroupOf(std::vector<Group>& groups, std::string_view name, std::size_t guess) {
  if (guess < groups.size() && groups[guess].name == name) {
    return guess;
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].name == name) {
      return i;
    }
  }
  groups.push_back({.name = name});
  return groups.size() - 1;
}

// Gives each input its place within its group; afterwards a group's size is known.
std::vector<Group> PlanGroups(std::vector<Asked>& asked) {
  std::vector<Group> groups;
  for (Asked& one : asked) {
    for (std::size_t i = 0; i < one.inputs.size(); ++i) {
      ipc::Tensor& tensor = one.message.inputs[i];
      one.inputs[i].group = GroupOf(groups, tensor.name, i);
      Group& group = groups[one.inputs[i].group];
      tensor.offset = group.size;
      group.size += Aligned(tensor.size);
    }
  }
  return groups;
}

void Lease(ipc::Arena& arena, std::span<Group> groups, std::uint64_t size, ExchangeLeases& leases) {
  if (size == 0) {
    size = ipc::kAlignment;
  }
  ipc::Block block = arena.Allocate(size);
  std::byte* const data = block.data();
  const std::uint64_t lease = leases.Add(std::move(block)).lease;
  std::uint64_t base = 0;
  for (Group& group : groups) {
    group.lease = lease;
    group.base = base;
    group.data = data + base;
    base += group.size;
  }
}

void LeaseGroups(ipc::Arena& arena, std::vector<Group>& groups, ExchangeLeases& leases) {
  std::uint64_t total = 0;
  for (const Group& group : groups) {
    total += group.size;
  }
  if (total <= kShareBlockBelow) {
    if (!groups.empty()) {
      Lease(arena, groups, total, leases);
    }
    return;
  }
  for (Group& group : groups) {
    Lease(arena, {&group, 1}, group.size, leases);
  }
}

void CopyInput(const Input& input, const ipc::Tensor& tensor, std::byte* to,
               const std::string& instance_name) {
  const auto& api = triton::Api();
  std::uint64_t copied = 0;
  for (std::uint32_t i = 0; i < input.buffers; ++i) {
    const void* buffer = nullptr;
    std::uint64_t size = 0;
    TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
    std::int64_t device_id = 0;
    Check(api.TRITONBACKEND_InputBuffer(input.handle, i, &buffer, &size, &memory_type, &device_id));
    if (memory_type == TRITONSERVER_MEMORY_GPU) {
      throw ipc::Error(ipc::Code::kUnsupported,
                       "input '" + std::string(tensor.name) + "' of model instance '" + instance_name +
                           "' is in GPU memory (device " + std::to_string(device_id) +
                           "): the Python backend takes tensors in CPU memory only, send it from there");
    }
    if (size > tensor.size - copied) {
      throw ipc::Error(ipc::Code::kInternal,
                       "the buffers of input '" + std::string(tensor.name) + "' of model instance '" +
                           instance_name + "' hold more than its " + std::to_string(tensor.size) + " bytes");
    }
    ipc::Copy(to + copied, buffer, size);
    copied += size;
  }
  if (copied != tensor.size) {
    throw ipc::Error(ipc::Code::kInternal, "the buffers of input '" + std::string(tensor.name) +
                                               "' of model instance '" + instance_name + "' hold " +
                                               std::to_string(copied) + " bytes, expected " +
                                               std::to_string(tensor.size));
  }
}

// Core makes the control input for a correlation id that is text in a buffer for the longest one, and leaves
// what is behind the text as it found it.
constexpr std::uint64_t kTextControlSize = 4 + 128;

// Cuts such a control input to its one element.
bool CutTextControl(ipc::Tensor& tensor, const std::byte* copied, std::string_view correlation_text) {
  if (tensor.size != kTextControlSize || ipc::ElementCount(tensor.shape) != 1) {
    return false;
  }
  ipc::BytesReader reader({copied, tensor.size});
  const auto length = reader.NextLength();
  if (length != correlation_text.size()) {
    return false;
  }
  const auto element = reader.Take(*length);
  if (std::memcmp(element.data(), correlation_text.data(), element.size()) != 0) {
    return false;
  }
  tensor.size -= reader.left();
  return true;
}

// A client's BYTES tensor may be malformed. The stub, which can write to the copy, harms only itself by that.
void CheckBytes(ipc::Tensor& tensor, const std::byte* copied, std::string_view correlation_text) {
  const std::string name = "inference input '" + std::string(tensor.name) + "'";
  const auto count = ipc::ElementCount(tensor.shape);
  if (!count) {
    throw ipc::Error(ipc::Code::kInvalidArg, name + " has an impossible shape");
  }
  if (const std::string fault = ipc::FaultOfBytes({copied, tensor.size}, *count, name);
      !fault.empty() && !CutTextControl(tensor, copied, correlation_text)) {
    throw ipc::Error(ipc::Code::kInvalidArg, fault);
  }
}

void CopyInputs(Asked& asked, const std::vector<Group>& groups, const std::string& instance_name) {
  for (std::size_t i = 0; i < asked.inputs.size(); ++i) {
    ipc::Tensor& tensor = asked.message.inputs[i];
    const Group& group = groups[asked.inputs[i].group];
    std::byte* const to = group.data + tensor.offset;
    CopyInput(asked.inputs[i], tensor, to, instance_name);
    if (tensor.dtype == ipc::DataType::kBytes) {
      CheckBytes(tensor, to, asked.message.correlation_text);
    }
    tensor.lease = group.lease;
    tensor.offset += group.base;
  }
}

// Calls `step` for each request; one that fails gets its error and is dropped.
template <typename Step>
void ForEach(std::vector<Asked>& asked, Batch& batch, Step&& step) {
  std::erase_if(asked, [&](Asked& one) {
    Batch::Item& item = batch.items()[one.item];
    try {
      step(item, one);
      return false;
    } catch (const ipc::Error& error) {
      batch.Fail(item, error.code(), error.message());
      return true;
    }
  });
}

std::uint64_t Inferences(const ipc::Request& request, bool has_batch_dimension) {
  if (!has_batch_dimension || request.inputs.empty() || request.inputs.front().shape.empty()) {
    return 1;
  }
  return static_cast<std::uint64_t>(request.inputs.front().shape.front());
}

}  // namespace

Gathered Gather(Batch& batch, ipc::Arena& arena, ExchangeLeases& leases, const InstanceFacts& instance,
                std::uint64_t first_response_id, ipc::Writer& body) {
  std::vector<Asked> asked;
  asked.reserve(batch.items().size());
  for (std::size_t i = 0; i < batch.items().size(); ++i) {
    if (!batch.items()[i].left_out) {
      asked.emplace_back().item = i;
    }
  }
  ForEach(asked, batch, [](Batch::Item& item, Asked& one) { ReadRequest(item.request, one); });

  auto groups = PlanGroups(asked);
  LeaseGroups(arena, groups, leases);
  ForEach(asked, batch, [&](Batch::Item&, Asked& one) { CopyInputs(one, groups, instance.name); });

  Gathered gathered;
  ipc::Execute message;
  message.leases = leases.records();
  for (Asked& one : asked) {
    gathered.inferences += Inferences(one.message, instance.has_batch_dimension);
    gathered.sent.push_back(one.item);
    one.message.response_id = first_response_id + one.item;
    message.requests.push_back(std::move(one.message));
  }
  body.Clear();
  ipc::Encode(message, body);
  return gathered;
}

}  // namespace tpb::backend
