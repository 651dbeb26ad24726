// Sends lines of a model to the server's log, over one channel.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ipc/channel.h"
#include "ipc/messages.h"
#include "stub/fork.h"

namespace tpb::stub {

class LogSender {
 public:
  // `channel` is shared with the attachment: lines may come after that has ended.
  explicit LogSender(std::shared_ptr<ipc::StubChannel> channel) : channel_(std::move(channel)) {}
  LogSender(const LogSender&) = delete;
  LogSender& operator=(const LogSender&) = delete;
  LogSender(LogSender&&) = delete;
  LogSender& operator=(LogSender&&) = delete;
  ~LogSender();

  // Whether the server logs lines of this level now. Any thread, in forked children too.
  [[nodiscard]] bool IsEnabled(ipc::LogLevel level) const noexcept;

  // Any thread that holds the GIL, which is released while the events ring is full. After some seconds
  // without room the line is lost, and the next one that gets through is preceded by the number of those.
  // What a forked child logs, or what the arena has no room for, goes to stderr.
  void Send(const ipc::LogLine& line);

 private:
  void SendOverChannel(const ipc::LogLine& line);
  void TellOfLost(const ipc::LogLine& next);
  bool TryPush(const ipc::Slot& slot, std::vector<ipc::Block>& blocks);
  bool PushPatiently(const ipc::Slot& slot, std::vector<ipc::Block>& blocks) noexcept;

  const Birthplace birthplace_;
  std::shared_ptr<ipc::StubChannel> channel_;
  std::atomic<std::int64_t> full_since_ns_{0};  // 0: the ring took the last line
  std::atomic<std::uint64_t> lost_{0};
};

}  // namespace tpb::stub
