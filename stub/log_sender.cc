#include "stub/log_sender.h"

#include <Python.h>

#include <chrono>
#include <exception>
#include <string>
#include <string_view>
#include <thread>

#include "ipc/codec.h"
#include "stub/stderr_line.h"

namespace tpb::stub {
namespace {

constexpr std::size_t kLongestText = std::size_t{64} << 10;
constexpr std::size_t kLongestFile = 255;
constexpr std::chrono::seconds kPatience{5};
constexpr std::chrono::milliseconds kLook{1};

std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The start of a text that is too long, without half a character at its end, and a mark.
std::string Cut(std::string_view text) {
  std::size_t size = kLongestText;
  while (size > kLongestText - 3 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) {
    --size;
  }
  return std::string(text.substr(0, size)) + " ... (cut here, of " + std::to_string(text.size()) + " bytes)";
}

ipc::Slot MakeSlot() {
  ipc::Slot slot{};
  slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kLog);
  return slot;
}

std::vector<ipc::Block> PutLine(ipc::Arena& arena, const ipc::LogLine& line, ipc::Slot& slot) {
  ipc::Writer body;
  ipc::Encode(line, body);
  return ipc::PutBody(arena, body.bytes(), slot);
}

}  // namespace

LogSender::~LogSender() {
  if (birthplace_.InForkedChild()) {
    Leak(channel_);  // its blocks and mutexes are the parent's
  }
}

bool LogSender::IsEnabled(ipc::LogLevel level) const noexcept {
  const auto levels = channel_->control().log_levels.load(std::memory_order_relaxed);
  return ((levels >> static_cast<std::uint32_t>(level)) & 1U) != 0;
}

void LogSender::Send(const ipc::LogLine& line) {
  if (birthplace_.InForkedChild()) {
    WriteToStderr(line);
    return;
  }
  try {
    SendOverChannel(line);
  } catch (const std::exception&) {
    // No room in the arena, or a ring that the server broke, which the main thread notices. Neither is the
    // model's business.
    WriteToStderr(line);
  }
}

void LogSender::SendOverChannel(const ipc::LogLine& line) {
  ipc::LogLine sent = line;
  std::string cut;
  if (line.text.size() > kLongestText) {
    cut = Cut(line.text);
    sent.text = cut;
  }
  sent.file = line.file.substr(0, kLongestFile);
  // First what the server has read of earlier lines.
  channel_->events().Reclaim();
  TellOfLost(sent);
  ipc::Slot slot = MakeSlot();
  auto blocks = PutLine(*channel_->arena(), sent, slot);
  if (!TryPush(slot, blocks)) {
    // Not by a guard: where the interpreter is ending, taking the GIL back may unwind this thread.
    PyThreadState* const state = PyEval_SaveThread();
    const bool pushed = PushPatiently(slot, blocks);
    PyEval_RestoreThread(state);
    if (!pushed) {
      lost_.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void LogSender::TellOfLost(const ipc::LogLine& next) {
  if (lost_.load(std::memory_order_relaxed) == 0) {
    return;
  }
  const std::uint64_t lost = lost_.exchange(0, std::memory_order_relaxed);
  if (lost == 0) {
    return;  // another thread tells
  }
  const std::string text = std::to_string(lost) +
                           " lines that this model logged before this one are lost: the server did not take "
                           "them for " +
                           std::to_string(kPatience.count()) + " s";
  bool told = false;
  try {
    ipc::Slot slot = MakeSlot();
    auto blocks =
        PutLine(*channel_->arena(),
                {.level = ipc::LogLevel::kWarning, .line = next.line, .file = next.file, .text = text}, slot);
    told = TryPush(slot, blocks);
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // As with any line; this one is tried again.
  }
  if (!told) {
    lost_.fetch_add(lost, std::memory_order_relaxed);
  }
}

bool LogSender::TryPush(const ipc::Slot& slot, std::vector<ipc::Block>& blocks) {
  const bool pushed = channel_->events().TryPush(slot, blocks);
  if (pushed && full_since_ns_.load(std::memory_order_relaxed) != 0) {
    full_since_ns_.store(0, std::memory_order_relaxed);
  }
  return pushed;
}

// False when the ring has not taken a line of anybody for as long as we wait.
bool LogSender::PushPatiently(const ipc::Slot& slot, std::vector<ipc::Block>& blocks) noexcept {
  constexpr std::int64_t kPatienceNs = std::chrono::nanoseconds(kPatience).count();
  try {
    while (!TryPush(slot, blocks)) {
      const std::int64_t now = NowNs();
      std::int64_t since = 0;
      if (!full_since_ns_.compare_exchange_strong(since, now) && now - since >= kPatienceNs) {
        return false;
      }
      std::this_thread::sleep_for(kLook);
    }
    return true;
  } catch (const std::exception&) {
    return false;  // the server broke the ring
  }
}

}  // namespace tpb::stub
