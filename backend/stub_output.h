// What a stub and the processes that it starts print: two pipes behind descriptors 1 and 2, whose lines go to
// the server's log. Any thread; the listener's does most of it.
#pragma once

#include <array>
#include <chrono>
#include <mutex>
#include <string>

#include "backend/lines.h"
#include "ipc/messages.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {

class StubOutput {
 public:
  enum Stream { kStdout = 0, kStderr = 1 };
  static constexpr std::array<Stream, 2> kStreams{kStdout, kStderr};

  // `label` names the model or instance in the log.
  explicit StubOutput(std::string label);
  StubOutput(const StubOutput&) = delete;
  StubOutput& operator=(const StubOutput&) = delete;
  StubOutput(StubOutput&&) = delete;
  StubOutput& operator=(StubOutput&&) = delete;
  ~StubOutput() = default;

  // What the stub is to write to. Closed here once it has been started.
  [[nodiscard]] int writing_end(Stream stream) const noexcept { return pipes_[stream].writing.get(); }
  void CloseWritingEnds() noexcept;

  // Readable when there is something to read; -1 once nobody can write any more.
  [[nodiscard]] int descriptor(Stream stream) const;

  enum class Got { kSome, kNothing, kEnd };  // kEnd: nobody can write any more

  // Logs some of what has come, so that a process that never stops printing does not keep this thread; never
  // waits.
  Got Read(Stream stream);

  // Unfinished lines of a process that has printed nothing for a moment are logged too: how long to sleep at
  // most, for FlushQuiet() to do that in time; -1 when there is none.
  [[nodiscard]] int FlushInMs() const;
  void FlushQuiet();

  // The process has ended: logs what it left. Not all that its children go on writing.
  void ReadRest();

  // ReadRest(), and nobody reads any more: who still writes gets EPIPE instead of waiting for ever.
  void Finish() noexcept;

  // The process now works for this instance: what it has printed until now still goes by the old name.
  void SetLabel(const std::string& label);
  [[nodiscard]] std::string label() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Pipe {
    ipc::UniqueFd reading;
    ipc::UniqueFd writing;
    Lines lines;
    int count = 0;  // of lines
    Clock::time_point last_read;
    bool ended = false;
  };

  Pipe MakePipe(Stream stream);
  Got ReadLocked(Stream stream);
  void ReadAllLocked(Stream stream);
  void Log(Stream stream, std::string_view line);

  mutable std::mutex mutex_;
  std::string label_;
  std::array<Pipe, 2> pipes_;
};

}  // namespace tpb::backend
