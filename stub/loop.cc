#include "stub/loop.h"

#include <optional>
#include <string>
#include <utility>

#include "ipc/error.h"
#include "stub/gil.h"
#include "stub/logger.h"
#include "stub/quiet.h"
#include "stub/requests.h"
#include "stub/response_sender.h"
#include "stub/responses.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Error;
using ipc::MessageKind;

// `error` must outlive the reply.
ipc::Reply Failed(const Error& error) {
  ipc::Reply reply;
  reply.failed = true;
  reply.code = error.code();
  reply.text = error.message();
  return reply;
}

void PrintTraceback(const py::error_already_set& error) {
  try {
    const py::object print = py::module_::import("traceback").attr("print_exception");
    print(error.type(), error.value(), error.trace() ? py::object(error.trace()) : py::object(py::none()));
  } catch (py::error_already_set& second) {
    second.discard_as_unraisable("printing an exception of finalize");
  }
}

void FailOpen(const std::vector<std::shared_ptr<InferenceRequest>>& requests,
              const std::string& instance_name, const Error& failure) {
  const std::string text =
      "Failed to process the request(s) for model '" + instance_name + "', message: " + failure.message();
  SendLog(ipc::LogLevel::kError, "loop.cc", __LINE__, text);
  for (const auto& request : requests) {
    request->Sender()->Fail(failure.code(), text);
  }
}

}  // namespace

void Loop::Run() {
  while (true) {
    const ipc::Slot work = Next();
    const std::vector<std::byte> body = connection_->channel().CopyBody(work);
    connection_->channel().work().Advance();
    switch (static_cast<MessageKind>(work.kind)) {
      case MessageKind::kExecute:
        Execute(work, body);
        break;
      case MessageKind::kAutoComplete:
      case MessageKind::kInitialize:
        Load(work, body);
        break;
      case MessageKind::kFinalize:
        Finalize(work);
        return;
      default:
        throw ipc::ProtocolError("work of kind " + std::to_string(work.kind));
    }
  }
}

ipc::Slot Loop::Next() {
  auto& work = connection_->channel().work();
  if (const auto slot = work.Peek()) {
    return *slot;
  }
  connection_->orphans().Reap();
  const GilReleased no_gil;
  if (!work.Look()) {
    connection_->book()->SetIdle();
  }
  auto deadline = QuietTime(connection_->channel());
  while (true) {
    const auto result = work.Sleep(deadline, connection_->gone());
    if (result == ipc::WaitResult::kPeerGone) {
      throw Error(ipc::Code::kUnavailable, "the server is gone");
    }
    if (result == ipc::WaitResult::kTimeout) {
      Tidy(connection_->channel());
      deadline = ipc::Deadline::Never();
    }
    if (const auto slot = work.Peek()) {
      connection_->book()->SetBusy();
      return *slot;
    }
  }
}

void Loop::Load(const ipc::Slot& work, std::span<const std::byte> body) {
  const ipc::Load load = ipc::DecodeLoad(body);
  connection_->book()->SetLabel(
      std::string(load.instance_name.empty() ? load.model_name : load.instance_name));
  connection_->SetModelDir(std::string(load.model_repository) + "/" + std::string(load.model_version));
  std::optional<Error> failure;
  std::string answer;
  bool has_ready_check = false;
  try {
    if (static_cast<MessageKind>(work.kind) == MessageKind::kAutoComplete) {
      answer = model_.AutoComplete(load);
    } else {
      connection_->AllowControl(true);
      facts_ = std::make_shared<const ModelFacts>(model_.Initialize(load));
      has_ready_check = ready_check_.Start(model_.ready_check());
      connection_->AllowCalls(true);
    }
    LeaveInForkedChild();
  } catch (const py::error_already_set& error) {
    if (birthplace_.InForkedChild()) {
      throw;
    }
    failure = model_.Describe(error);
  } catch (const Error& error) {
    failure = error;
  }
  ipc::Reply reply = failure ? Failed(*failure) : ipc::Reply{};
  if (failure) {
    model_.FlushOutput();  // the server is about to kill this process
  } else {
    reply.text = answer;
    reply.max_batch_size = facts_->max_batch_size;
    reply.flags = facts_->decoupled ? ipc::kReplyDecoupled : 0U;
    reply.flags |= facts_->may_replay ? ipc::kReplyMayReplay : 0U;
    reply.execute_timeout_ms = facts_->execute_timeout_ms;
    reply.state_outputs.assign(facts_->state_outputs.begin(), facts_->state_outputs.end());
    reply.flags |= has_ready_check ? ipc::kReplyHasReadyCheck : 0U;
  }
  Send(work, reply, {});
}

void Loop::Execute(const ipc::Slot& work, std::span<const std::byte> body) {
  Batch batch = ReadBatch(body, connection_, facts_);
  std::vector<Answer> answers;
  std::optional<Error> failure;
  try {
    batch.returned = model_.Execute(batch.list, [&] { return MakeDone(batch); });
    LeaveInForkedChild();
    answers = ReadAnswers(batch);
    SettleSenders(batch, answers);
  } catch (const py::error_already_set& error) {
    if (birthplace_.InForkedChild()) {
      throw;
    }
    failure = model_.Describe(error);
  } catch (const std::exception& error) {
    failure = Error(ipc::Code::kInternal, error.what());
  }
  if (failure) {
    answers.clear();
    batch.CloseSenders();
  }
  const std::vector<std::uint64_t> kept = SettleLeases(batch, answers);
  if (!failure) {
    try {
      // First what the server has read, so that the same warm memory is used again and again.
      connection_->channel().replies().Reclaim();
      auto blocks = CopyOutputs(*connection_->channel().arena(), answers);
      ipc::Reply reply;
      reply.kept = kept;
      reply.responses = ToWire(answers);
      Send(work, reply, std::move(blocks));
      return;
    } catch (const ipc::ProtocolError&) {
      throw;
    } catch (const Error& error) {
      failure = error;
    }
  }
  ipc::Reply reply = Failed(*failure);
  reply.kept = kept;
  Send(work, reply, {});
}

// For the outcome of a coroutine of a decoupled model: when it has failed, whoever was not answered by then
// gets an error. It may be called when this loop has ended.
py::object Loop::MakeDone(const Batch& batch) const {
  return py::cpp_function([requests = batch.requests, instance_name = facts_->instance_name,
                           loader = model_.loader()](const py::object& returned, const py::object& error) {
    std::optional<Error> failure;
    if (!error.is_none()) {
      failure = DescribeException(loader, error);
    } else if (!returned.is_none()) {
      failure = Error(ipc::Code::kInternal, NotNone(instance_name));
    }
    if (failure) {
      FailOpen(requests, instance_name, *failure);
    }
  });
}

void Loop::Finalize(const ipc::Slot& work) {
  connection_->AllowCalls(false);
  connection_->AllowControl(false);
  ready_check_.Stop();
  try {
    model_.Finalize();
    LeaveInForkedChild();
  } catch (const py::error_already_set& error) {
    if (birthplace_.InForkedChild()) {
      throw;
    }
    PrintTraceback(error);
  }
  before_end_();
  Send(work, {}, {});
}

void Loop::LeaveInForkedChild() const {
  if (birthplace_.InForkedChild()) {
    // The child of an os.fork() in the model has come back from the model's function: it is done.
    py::set_error(PyExc_SystemExit, py::int_(0));
    throw py::error_already_set();
  }
}

void Loop::Send(const ipc::Slot& work, const ipc::Reply& reply, std::vector<ipc::Block> blocks) {
  writer_.Clear();
  ipc::Encode(reply, writer_);
  ipc::Slot slot{};
  slot.kind = static_cast<std::uint32_t>(MessageKind::kReply);
  slot.id = work.id;
  for (auto& block : ipc::PutBody(*connection_->channel().arena(), writer_.bytes(), slot)) {
    blocks.push_back(std::move(block));
  }
  slot.sent_before = connection_->channel().events().pushed();
  if (!connection_->channel().replies().TryPush(slot, blocks)) {
    // The server takes each answer before it sends more work.
    throw ipc::ProtocolError("the server does not take answers");
  }
}

}  // namespace tpb::stub
