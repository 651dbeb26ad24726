#include "backend/string_map.h"

#include <cctype>
#include <charconv>

#include "ipc/error.h"

namespace tpb::backend {
namespace {

constexpr int kMaxDepth = 32;

class JsonText {
 public:
  explicit JsonText(std::string_view text) : text_(text) {}

  char Peek() {
    while (position_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[position_])) != 0) {
      ++position_;
    }
    return position_ < text_.size() ? text_[position_] : '\0';
  }

  void Expect(char wanted) {
    if (Peek() != wanted) {
      Fail();
    }
    ++position_;
  }

  // After a member or an element: true when another one follows, false when `end` closed the list.
  bool Next(char end) {
    const char found = Peek();
    ++position_;
    if (found != ',' && found != end) {
      Fail();
    }
    return found == ',';
  }

  std::string String() {
    Expect('"');
    std::string value;
    while (Raw() != '"') {
      const char character = text_[position_++];
      if (character == '\\') {
        Escape(value);
      } else {
        value += character;
      }
    }
    ++position_;
    return value;
  }

  // Any value, thrown away.
  void Skip(int depth = 0) {
    const char first = Peek();
    if (first == '"') {
      String();
    } else if (first == '{' || first == '[') {
      SkipList(first == '{', depth);
    } else {
      SkipWord();
    }
  }

 private:
  char Raw() {
    if (position_ >= text_.size()) {
      Fail();
    }
    return text_[position_];
  }

  void SkipList(bool object, int depth) {
    const char end = object ? '}' : ']';
    ++position_;
    if (depth == kMaxDepth) {
      Fail();
    }
    if (Peek() == end) {
      ++position_;
      return;
    }
    do {
      if (object) {
        String();
        Expect(':');
      }
      Skip(depth + 1);
    } while (Next(end));
  }

  void SkipWord() {
    const std::size_t start = position_;
    while (position_ < text_.size() &&
           std::string_view(",]} \n\r\t").find(text_[position_]) == std::string_view::npos) {
      ++position_;
    }
    if (position_ == start) {
      Fail();
    }
  }

  void Escape(std::string& value) {
    const char kind = Raw();
    ++position_;
    constexpr std::string_view kFrom = "\"\\/bfnrt";
    constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
    if (const auto index = kFrom.find(kind); index != std::string_view::npos) {
      value += kTo[index];
    } else if (kind == 'u') {
      AppendUtf8(value, Hex4());
    } else {
      Fail();
    }
  }

  unsigned Hex4() {
    unsigned code = 0;
    const std::string_view digits = text_.substr(position_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (error != std::errc() || digits.size() != 4 || end != digits.data() + 4) {
      Fail();
    }
    position_ += 4;
    return code;
  }

  // Pairs of surrogates do not occur in what core prints (it writes UTF-8 as it is), so each is taken by
  // itself.
  static void AppendUtf8(std::string& value, unsigned code) {
    if (code < 0x80) {
      value += static_cast<char>(code);
    } else if (code < 0x800) {
      value += static_cast<char>(0xC0U | (code >> 6U));
      value += static_cast<char>(0x80U | (code & 0x3FU));
    } else {
      value += static_cast<char>(0xE0U | (code >> 12U));
      value += static_cast<char>(0x80U | ((code >> 6U) & 0x3FU));
      value += static_cast<char>(0x80U | (code & 0x3FU));
    }
  }

  [[noreturn]] void Fail() const {
    throw ipc::Error(ipc::Code::kInvalidArg, "the backend configuration is not JSON (at character " +
                                                 std::to_string(position_) + ")");
  }

  std::string_view text_;
  std::size_t position_ = 0;
};

// Calls visit(name) at each member's value; it must consume the value.
template <typename Visit>
void VisitMembers(JsonText& json, Visit&& visit) {
  json.Expect('{');
  if (json.Peek() == '}') {
    json.Expect('}');
    return;
  }
  do {
    const std::string name = json.String();
    json.Expect(':');
    visit(name);
  } while (json.Next('}'));
}

}  // namespace

std::map<std::string, std::string> ReadStringMap(std::string_view json, std::string_view member) {
  std::map<std::string, std::string> map;
  JsonText text(json);
  VisitMembers(text, [&](const std::string& outer) {
    if (outer != member || text.Peek() != '{') {
      text.Skip();
      return;
    }
    VisitMembers(text, [&](const std::string& name) {
      if (text.Peek() == '"') {
        map[name] = text.String();
      } else {
        text.Skip();
      }
    });
  });
  return map;
}

}  // namespace tpb::backend
