// Cuts what a process prints into lines for a log.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace tpb::backend {

// However the bytes are cut into pieces on their way here, the lines are the same.
class Lines {
 public:
  static constexpr std::size_t kLongest = std::size_t{16} << 10;

  // `sink` gets each line without its end, raw.
  explicit Lines(std::function<void(std::string_view)> sink, std::size_t longest = kLongest)
      : sink_(std::move(sink)), longest_(longest) {}

  // A line ends with \n or \r\n. A lone \r, with which a progress bar begins anew, ends one too, but makes no
  // empty ones. A line of more than `longest` bytes comes in several parts, cut between two characters.
  void Add(std::string_view bytes);

  // What has no end yet becomes a line; an end that comes next is its.
  void Flush();

  [[nodiscard]] bool unfinished() const noexcept { return !line_.empty(); }

 private:
  void AddPlain(std::string_view bytes);
  void End(char by);
  void Emit(std::size_t size);

  const std::function<void(std::string_view)> sink_;
  const std::size_t longest_;
  std::string line_;          // without an end so far
  bool ended_early_ = false;  // the last line is out, and a \n that comes now is the rest of its end
};

}  // namespace tpb::backend
