#include "backend/printable.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace tpb::backend {
namespace {

bool IsPlain(unsigned char byte, Newlines newlines) {
  return (byte >= 0x20 && byte < 0x7f) || byte == '\t' || (byte == '\n' && newlines == Newlines::kKeep);
}

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

std::size_t LengthFromLead(unsigned char lead) {
  if (lead >= 0xc2 && lead < 0xe0) {
    return 2;
  }
  if (lead >= 0xe0 && lead < 0xf0) {
    return 3;
  }
  return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

// The bytes of the character above ASCII that `text` starts with; 0 when it starts with none.
std::size_t CharacterLength(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = LengthFromLead(lead);
  if (length == 0 || text.size() < length ||
      !std::ranges::all_of(text.substr(1, length - 1), IsContinuation)) {
    return 0;
  }
  // Too long a form, a surrogate, or beyond Unicode.
  const auto second = static_cast<unsigned char>(text[1]);
  const bool wrong = (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second >= 0xa0) ||
                     (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second >= 0x90);
  return wrong ? 0 : length;
}

void AppendEscaped(std::string& result, const char* format, unsigned value) {
  char escaped[8];
  result.append(escaped, static_cast<std::size_t>(std::snprintf(escaped, sizeof(escaped), format, value)));
}

}  // namespace

std::string Printable(std::string_view text, Newlines newlines) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const std::size_t length = byte < 0x80 ? 1 : CharacterLength(text);
    if (IsPlain(byte, newlines)) {
      result += text[0];
    } else if (byte < 0x80 || length == 0) {
      AppendEscaped(result, "\\x%02x", byte);
    } else if (byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0) {
      AppendEscaped(result, "\\u%04x", static_cast<unsigned char>(text[1]));
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return result;
}

}  // namespace tpb::backend
