#include "backend/stub_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <utility>

#include "backend/model_log.h"
#include "ipc/error.h"

namespace tpb::backend {
namespace {

constexpr std::size_t kAtOnce = std::size_t{16} << 10;
// More than the largest pipe that an ordinary user may have: ended processes leave no more.
constexpr int kMostReads = 128;
constexpr std::chrono::milliseconds kQuiet{500};

}  // namespace

StubOutput::StubOutput(std::string label)
    : label_(std::move(label)), pipes_{MakePipe(kStdout), MakePipe(kStderr)} {}

StubOutput::Pipe StubOutput::MakePipe(Stream stream) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    ipc::ThrowErrno("Unable to create a pipe for the output of a stub process", errno);
  }
  ipc::UniqueFd reading(ends[0]);
  ipc::UniqueFd writing(ends[1]);
  // Of the reading end alone: writers of the other one want to wait for room.
  if (::fcntl(reading.get(), F_SETFL, O_NONBLOCK) != 0) {
    ipc::ThrowErrno("Unable to set up a pipe for the output of a stub process", errno);
  }
  return {.reading = std::move(reading),
          .writing = std::move(writing),
          .lines = Lines([this, stream](std::string_view line) { Log(stream, line); }),
          .last_read = {}};
}

void StubOutput::CloseWritingEnds() noexcept {
  for (Pipe& pipe : pipes_) {
    pipe.writing.Reset();
  }
}

int StubOutput::descriptor(Stream stream) const {
  const std::scoped_lock lock(mutex_);
  return pipes_[stream].ended ? -1 : pipes_[stream].reading.get();
}

StubOutput::Got StubOutput::Read(Stream stream) {
  const std::scoped_lock lock(mutex_);
  return ReadLocked(stream);
}

StubOutput::Got StubOutput::ReadLocked(Stream stream) {
  Pipe& pipe = pipes_[stream];
  if (pipe.ended) {
    return Got::kEnd;
  }
  char buffer[kAtOnce];
  // It does not block. NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
  const ssize_t size = ::read(pipe.reading.get(), buffer, sizeof(buffer));
  if (size > 0) {
    pipe.last_read = Clock::now();
    pipe.lines.Add({buffer, static_cast<std::size_t>(size)});
    return Got::kSome;
  }
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return Got::kNothing;
  }
  pipe.ended = true;
  pipe.lines.Flush();
  return Got::kEnd;
}

// Bounded, because others may go on writing.
void StubOutput::ReadAllLocked(Stream stream) {
  for (int reads = 0; reads < kMostReads && ReadLocked(stream) == Got::kSome; ++reads) {
  }
}

int StubOutput::FlushInMs() const {
  const std::scoped_lock lock(mutex_);
  int soonest = -1;
  for (const Pipe& pipe : pipes_) {
    if (pipe.lines.unfinished()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(pipe.last_read + kQuiet - Clock::now());
      const int wait = std::max(0, static_cast<int>(left.count()));
      soonest = soonest < 0 ? wait : std::min(soonest, wait);
    }
  }
  return soonest;
}

void StubOutput::FlushQuiet() {
  const std::scoped_lock lock(mutex_);
  for (const Stream stream : kStreams) {
    Pipe& pipe = pipes_[stream];
    // This thread may have been busy: a look at whether the rest of the line has come.
    if (pipe.lines.unfinished() && Clock::now() - pipe.last_read >= kQuiet &&
        ReadLocked(stream) == Got::kNothing) {
      pipe.lines.Flush();
    }
  }
}

void StubOutput::ReadRest() {
  const std::scoped_lock lock(mutex_);
  for (const Stream stream : kStreams) {
    ReadAllLocked(stream);
    pipes_[stream].lines.Flush();
  }
}

void StubOutput::Finish() noexcept {
  try {
    ReadRest();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Out of memory: the rest is not logged.
  }
  const std::scoped_lock lock(mutex_);
  for (Pipe& pipe : pipes_) {
    pipe.ended = true;
    pipe.reading.Reset();
  }
}

void StubOutput::SetLabel(const std::string& label) {
  const std::scoped_lock lock(mutex_);
  for (const Stream stream : kStreams) {
    ReadAllLocked(stream);
  }
  label_ = label;
}

std::string StubOutput::label() const {
  const std::scoped_lock lock(mutex_);
  return label_;
}

// With the mutex held, by the lines.
void StubOutput::Log(Stream stream, std::string_view line) {
  // Python prints warnings and tracebacks to stderr: they stay where an operator has turned INFO off.
  const bool is_error = stream == kStderr;
  LogPrintedLine(is_error ? ipc::LogLevel::kWarning : ipc::LogLevel::kInfo,
                 label_ + (is_error ? " stderr" : " stdout"), ++pipes_[stream].count, line);
}

}  // namespace tpb::backend
