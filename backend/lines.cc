#include "backend/lines.h"

#include <algorithm>

namespace tpb::backend {
namespace {

// How much of `text` to take, so that no UTF-8 character is cut. Bytes that are no UTF-8 are cut anywhere.
std::size_t WholeCharacters(std::string_view text) {
  for (std::size_t behind = 1; behind <= 3 && behind < text.size(); ++behind) {
    const auto byte = static_cast<unsigned char>(text[text.size() - behind]);
    if (byte >= 0xc0) {
      const std::size_t length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
      return length > behind ? text.size() - behind : text.size();
    }
    if (byte < 0x80) {
      break;
    }
  }
  return text.size();
}

}  // namespace

void Lines::Add(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t plain = std::min(bytes.find_first_of("\r\n"), bytes.size());
    AddPlain(bytes.substr(0, plain));
    bytes.remove_prefix(plain);
    if (!bytes.empty()) {
      End(bytes[0]);
      bytes.remove_prefix(1);
    }
  }
}

void Lines::AddPlain(std::string_view bytes) {
  while (!bytes.empty()) {
    ended_early_ = false;
    if (line_.size() >= longest_) {
      Emit(WholeCharacters(line_));
    }
    const std::size_t taken = std::min(bytes.size(), longest_ - line_.size());
    line_ += bytes.substr(0, taken);
    bytes.remove_prefix(taken);
  }
}

void Lines::End(char by) {
  if (by == '\r') {
    if (!line_.empty()) {
      Emit(line_.size());
      ended_early_ = true;
    }
  } else if (ended_early_) {
    ended_early_ = false;
  } else {
    Emit(line_.size());
  }
}

void Lines::Flush() {
  if (unfinished()) {
    Emit(line_.size());
    ended_early_ = true;
  }
}

void Lines::Emit(std::size_t size) {
  sink_(std::string_view(line_).substr(0, size));
  line_.erase(0, size);
}

}  // namespace tpb::backend
