// Makes what a model prints or logs fit for a log and the terminal that shows it.
#pragma once

#include <string>
#include <string_view>

namespace tpb::backend {

enum class Newlines { kKeep, kEscape };

// `text` as valid UTF-8 without control characters, such as a terminal's escape sequences: they, and bytes
// that are no UTF-8, stand there as \x1b, a control character above ASCII as \u009b. Tabs stay.
std::string Printable(std::string_view text, Newlines newlines);

}  // namespace tpb::backend
