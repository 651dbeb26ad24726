#include "stub/responses.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "ipc/copy.h"
#include "ipc/error.h"
#include "stub/gil.h"
#include "stub/response.h"
#include "stub/response_sender.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;

// Copies of at least this much let other Python threads run meanwhile.
constexpr std::uint64_t kCopyWithoutGil = std::uint64_t{1} << 20;

std::uint64_t RoundUp(std::uint64_t size) {
  return (size + ipc::kAlignment - 1) / ipc::kAlignment * ipc::kAlignment;
}

std::string TypeNameOf(py::handle object) { return py::str(py::type::of(object)); }

[[noreturn]] void RefuseAnswers(const std::string& text) { throw ipc::Error(ipc::Code::kInternal, text); }

bool IsError(py::handle element) {
  return py::isinstance<InferenceResponse>(element) && element.cast<const InferenceResponse&>().has_error();
}

Answer ErrorAnswer(ipc::Code code, const std::string& text) {
  Answer answer;
  answer.kind = ipc::ResponseKind::kError;
  answer.code = code;
  answer.text = text;
  return answer;
}

// Outputs inside a block of this batch let go of it, so that what then still holds the block is the model's.
bool PassThrough(const Batch& batch, std::vector<Answer>& answers) {
  bool any = false;
  for (auto& answer : answers) {
    for (auto& output : answer.outputs) {
      const auto& lease = output.payload.lease;
      if (lease && lease->IsNewFrom(*batch.book)) {
        output.passed_through = output.payload.lease.get();
        output.payload.lease.reset();
        output.payload.array = py::object();
        any = true;
      }
    }
  }
  return any;
}

// A block that the model keeps may change, at any time, in another thread: what goes out from there is copied
// first.
void CopyAfterAll(std::vector<Answer>& answers, const Lease* lease) {
  for (auto& answer : answers) {
    for (auto& output : answer.outputs) {
      if (output.passed_through == lease) {
        output.passed_through = nullptr;
      }
    }
  }
}

void CopyInto(std::byte* block, std::span<const Answer> answers, std::uint64_t start) {
  for (const auto& answer : answers) {
    for (const auto& output : answer.outputs) {
      if (output.passed_through == nullptr && !output.payload.bytes.empty()) {
        ipc::Copy(block + (output.offset - start), output.payload.bytes.data(), output.payload.bytes.size());
      }
    }
  }
}

// Nothing but this one reference leads to the bytes of an array: no thread of the model can write to them.
bool SolelyOurs(py::handle object) {
  while (object && py::isinstance<py::array>(object) && object.ref_count() == 1) {
    const py::handle base = py::detail::array_proxy(object.ptr())->base;
    if (!base) {
      return py::reinterpret_borrow<py::array>(object).owndata();
    }
    object = base;
  }
  return false;
}

bool CopiesAreSolelyOurs(std::span<const Answer> answers) {
  return std::ranges::all_of(answers, [](const Answer& answer) {
    return std::ranges::all_of(answer.outputs, [](const Output& output) {
      return output.passed_through != nullptr || SolelyOurs(output.payload.array);
    });
  });
}

// Where each copy goes, counted from `start`; returns the end of the last.
std::uint64_t PlaceCopies(std::span<Answer> answers, std::uint64_t start) {
  std::uint64_t end = start;
  for (auto& answer : answers) {
    for (auto& output : answer.outputs) {
      if (output.passed_through == nullptr) {
        output.offset = end;
        end += RoundUp(output.payload.bytes.size());
      }
    }
  }
  return end;
}

// Into one block.
std::vector<ipc::Block> CopyAtOnce(ipc::Arena& arena, std::span<Answer> answers) {
  std::vector<ipc::Block> blocks;
  const std::uint64_t total = PlaceCopies(answers, 0);
  if (total == 0) {
    return blocks;
  }
  const ipc::Block& block = blocks.emplace_back(arena.Allocate(total));
  PlaceCopies(answers, block.offset());
  // A model's threads may run meanwhile, unless they could change what is being copied.
  std::optional<GilReleased> no_gil;
  if (total >= kCopyWithoutGil && CopiesAreSolelyOurs(answers)) {
    no_gil.emplace();
  }
  CopyInto(block.data(), answers, block.offset());
  return blocks;
}

}  // namespace

Answer ReadAnswer(const InferenceResponse& response, const std::vector<std::string>& requested_outputs,
                  const std::vector<std::string>& state_outputs) {
  const auto goes_out = [&](const std::string& name) {
    return std::ranges::find(requested_outputs, name) != requested_outputs.end() ||
           std::ranges::find(state_outputs, name) != state_outputs.end();
  };
  if (response.has_error()) {
    return ErrorAnswer(response.error()->code(), response.error()->message());
  }
  Answer answer;
  answer.kind = ipc::ResponseKind::kTensors;
  answer.parameters = response.parameters();
  answer.outputs.reserve(response.output_tensors().size());
  for (const auto& tensor : response.output_tensors()) {
    if (goes_out(tensor->name())) {
      answer.outputs.push_back({.name = tensor->name(), .payload = tensor->Contents()});
    }
  }
  return answer;
}

std::string NotNone(const std::string& instance_name) {
  return "Python model '" + instance_name +
         "' is using the decoupled mode and the execute function must return None.";
}

std::vector<Answer> ReadAnswers(const Batch& batch) {
  const py::object& returned = batch.returned;
  if (batch.facts->decoupled && !returned.is_none()) {
    RefuseAnswers(NotNone(batch.facts->instance_name));
  }
  const std::size_t count = batch.requests.size();
  std::vector<Answer> answers;
  if (returned.is_none()) {
    answers.resize(count);
    return answers;
  }
  if (!py::isinstance<py::list>(returned)) {
    RefuseAnswers("Expected a list in the execute return, found type '" + TypeNameOf(returned) + "'.");
  }
  const auto list = py::reinterpret_borrow<py::list>(returned);
  if (list.size() != count) {
    RefuseAnswers(
        "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
        "InferenceRequest(s) size is:" +
        std::to_string(count) + ", and InferenceResponse(s) size is:" + std::to_string(list.size()) + "\n");
  }
  answers.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const py::object element = list[i];
    if (element.is_none()) {
      answers.emplace_back();
      continue;
    }
    if (batch.requests[i]->reschedules() && !IsError(element)) {
      RefuseAnswers(
          "Expected a None object in the execute function return list for reschduled request, found type '" +
          TypeNameOf(element) + "'.");
    }
    if (!py::isinstance<InferenceResponse>(element)) {
      RefuseAnswers(
          "Expected an 'InferenceResponse' object in the execute function return list, found type '" +
          TypeNameOf(element) + "'.");
    }
    if (const auto& sender = batch.requests[i]->sender()) {
      sender->CheckOneMore();
    }
    answers.push_back(ReadAnswer(element.cast<const InferenceResponse&>(),
                                 batch.requests[i]->requested_output_names(), batch.facts->state_outputs));
  }
  return answers;
}

void SettleSenders(Batch& batch, std::vector<Answer>& answers) {
  bool dropped = false;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto& request = batch.requests[i];
    const bool answered = answers[i].kind != ipc::ResponseKind::kNone;
    if (answered || request->reschedules()) {
      if (!answered) {
        answers[i].kind = ipc::ResponseKind::kReschedule;
      }
      if (request->sender()) {
        request->sender()->Close();
      }
      continue;
    }
    if (request->sender() && request->sender()->closed()) {
      continue;
    }
    if (!std::exchange(dropped, true)) {
      batch.returned = py::object();
      batch.list = py::object();
    }
    // Somebody beside this batch has the request, or its sender.
    if (request.use_count() > 1 || (request->sender() && request->sender().use_count() > 1)) {
      request->Sender();
      answers[i].kind = ipc::ResponseKind::kOpen;
    } else if (request->sender()) {
      request->sender()->Close();
    }
  }
}

std::vector<std::uint64_t> SettleLeases(Batch& batch, std::vector<Answer>& answers) {
  std::vector<std::uint64_t> kept;
  const bool passing = PassThrough(batch, answers);
  if (!batch.Shared() && PlaceCopies(answers, 0) < kCopyWithoutGil) {
    return kept;  // dropping the objects can wait until the answer is on its way
  }
  batch.DropObjects();
  if (!batch.Shared()) {
    return kept;
  }
  for (const auto& lease : batch.leases) {
    if (lease.use_count() > 1) {
      lease->Keep();
      kept.push_back(lease->id());
      if (passing) {
        CopyAfterAll(answers, lease.get());
      }
    }
  }
  return kept;
}

std::vector<ipc::Block> CopyOutputs(ipc::Arena& arena, std::vector<Answer>& answers) {
  try {
    return CopyAtOnce(arena, answers);
  } catch (const ipc::ArenaFull&) {
    if (answers.size() == 1) {
      throw;
    }
  }
  // Answers that do not fit beside those before them become errors, the others are right.
  std::vector<ipc::Block> blocks;
  for (Answer& answer : answers) {
    try {
      std::ranges::move(CopyAtOnce(arena, {&answer, 1}), std::back_inserter(blocks));
    } catch (const ipc::ArenaFull& error) {
      answer = ErrorAnswer(error.code(), error.message());
    }
  }
  return blocks;
}

ipc::Tensor ToWire(const Output& output) {
  ipc::Tensor tensor;
  tensor.name = output.name;
  tensor.dtype = output.payload.dtype;
  tensor.shape = output.payload.shape;
  tensor.size = output.payload.bytes.size();
  if (output.passed_through != nullptr) {
    tensor.place = ipc::Place::kServerArena;
    tensor.lease = output.passed_through->id();
    tensor.offset =
        static_cast<std::uint64_t>(output.payload.bytes.data() - output.passed_through->bytes().data());
  } else {
    tensor.place = ipc::Place::kStubArena;
    tensor.offset = output.offset;
  }
  return tensor;
}

std::vector<ipc::Response> ToWire(const std::vector<Answer>& answers) {
  std::vector<ipc::Response> responses;
  responses.reserve(answers.size());
  for (const auto& answer : answers) {
    ipc::Response& response = responses.emplace_back();
    response.kind = answer.kind;
    response.code = answer.code;
    response.text = answer.text;
    response.parameters = ParametersToWire(answer.parameters);
    response.outputs.reserve(answer.outputs.size());
    for (const auto& output : answer.outputs) {
      response.outputs.push_back(ToWire(output));
    }
  }
  return responses;
}

}  // namespace tpb::stub
