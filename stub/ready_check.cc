#include "stub/ready_check.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <string>
#include <thread>
#include <utility>

#include "ipc/codec.h"
#include "ipc/deadline.h"
#include "ipc/error.h"
#include "ipc/futex.h"
#include "stub/gil.h"

namespace tpb::stub {
namespace {

namespace py = pybind11;
using ipc::Readiness;

constexpr std::chrono::hours kSleep{1};  // a wake-up per hour costs nothing
constexpr std::chrono::seconds kEndPatience{5};
constexpr std::chrono::milliseconds kWakeAgain{1};
constexpr std::size_t kLongestReason = std::size_t{64} << 10;

struct Verdict {
  Readiness readiness = Readiness::kFailed;
  std::string text;
};

Verdict Run(const py::object& check) {
  try {
    const py::tuple result = check();
    return {.readiness = static_cast<Readiness>(result[0].cast<std::uint64_t>()),
            .text = result[1].cast<std::string>().substr(0, kLongestReason)};
  } catch (const std::exception& error) {
    return {.readiness = Readiness::kFailed, .text = error.what()};
  }
}

// Without the GIL.
void Send(Connection& connection, std::uint32_t question, const Verdict& verdict) {
  ipc::Slot slot{};
  slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kReadyAnswer);
  slot.id = question;
  slot.unused[0] = static_cast<std::uint64_t>(verdict.readiness);
  ipc::Writer body;
  if (verdict.readiness == Readiness::kFailed) {
    body.PutString(verdict.text);
  }
  auto blocks = ipc::PutBody(*connection.channel().arena(), body.bytes(), slot);
  connection.PushEvent(slot, blocks);
}

}  // namespace

// What the thread and its starter have in common.
struct ReadyCheck::Shared {
  std::shared_ptr<Connection> connection;
  std::uint32_t seen = 0;  // the last question; the thread's
  std::atomic<bool> stop{false};
  std::atomic<bool> ended{false};

  const std::atomic<std::uint32_t>& word() const { return connection->channel().control().ready_question; }

  // Until there is a question; false when there will be none.
  bool Await() {
    const GilReleased no_gil;
    while (!stop.load(std::memory_order_acquire) && !connection->gone()) {
      // Pairs with the server's store before its wake.
      const std::uint32_t question = word().load(std::memory_order_acquire);
      if (question != seen) {
        seen = question;
        return true;
      }
      ipc::FutexWait(word(), seen, kSleep);
    }
    return false;
  }
};

bool ReadyCheck::Start(const py::object& check) {
  if (check.is_none()) {
    return false;
  }
  shared_ = std::make_shared<Shared>();
  shared_->connection = connection_;
  shared_->seen = shared_->word().load(std::memory_order_acquire);
  const py::cpp_function serve([shared = shared_, check] { Serve(shared, check); });
  const py::object thread =
      py::module_::import("threading")
          .attr("Thread")(py::arg("target") = serve, py::arg("name") = "is_ready", py::arg("daemon") = true);
  thread.attr("start")();
  return true;
}

void ReadyCheck::Serve(const std::shared_ptr<Shared>& shared, const py::object& check) {
  const Birthplace birthplace;
  while (shared->Await()) {
    const Verdict verdict = Run(check);
    if (birthplace.InForkedChild()) {
      return;  // is_ready() has forked: the answer is the parent's
    }
    const GilReleased no_gil;
    try {
      Send(*shared->connection, shared->seen, verdict);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // No room for the text, or no server: its question ends by its time limit.
    }
  }
  shared->ended.store(true, std::memory_order_release);
}

void ReadyCheck::Stop() noexcept {
  const auto shared = std::exchange(shared_, nullptr);
  if (!shared || birthplace_.InForkedChild()) {
    return;
  }
  shared->stop.store(true, std::memory_order_release);
  const GilReleased no_gil;
  const auto deadline = ipc::Deadline::After(kEndPatience);
  // The word is the server's, so a wake that comes before the sleep is lost, and repeated.
  while (!shared->ended.load(std::memory_order_acquire) && !deadline.Passed()) {
    ipc::FutexWakeAll(const_cast<std::atomic<std::uint32_t>&>(shared->word()));  // NOLINT
    std::this_thread::sleep_for(kWakeAgain);
  }
}

}  // namespace tpb::stub
