// What a model prints: cut into lines, however the bytes arrive, and made harmless.
#include "backend/lines.h"

#include <algorithm>
#include <random>
#include <string>
#include <string_view>

#include "backend/printable.h"
#include "tests/cpp/check.h"

namespace {

using tpb::backend::Lines;
using tpb::backend::Newlines;
using tpb::backend::Printable;

// Writes each line down in brackets, so that one text holds them all.
class Notebook {
 public:
  explicit Notebook(std::size_t longest = Lines::kLongest)
      : lines_([this](std::string_view line) { seen_.append("[").append(line).append("]"); }, longest) {}
  Notebook(const Notebook&) = delete;
  Notebook& operator=(const Notebook&) = delete;

  Notebook& Add(std::string_view bytes) {
    lines_.Add(bytes);
    return *this;
  }
  Notebook& Flush() {
    lines_.Flush();
    return *this;
  }
  [[nodiscard]] const std::string& seen() const { return seen_; }
  [[nodiscard]] bool unfinished() const { return lines_.unfinished(); }

 private:
  std::string seen_;
  Lines lines_;
};

struct Case {
  std::string_view printed;
  std::string_view lines;
  std::string_view flushed;  // what had no end
};

constexpr Case kCases[] = {
    {.printed = "", .lines = "", .flushed = ""},
    {.printed = "a\n", .lines = "[a]", .flushed = ""},
    {.printed = "a\nb", .lines = "[a]", .flushed = "[b]"},
    {.printed = "a\n\nb\n", .lines = "[a][][b]", .flushed = ""},
    {.printed = "\n\n", .lines = "[][]", .flushed = ""},
    {.printed = "a\r\nb\r\n", .lines = "[a][b]", .flushed = ""},
    {.printed = "\r\n\r\n", .lines = "[][]", .flushed = ""},
    {.printed = "\r 10%\r 20%\rdone\n", .lines = "[ 10%][ 20%][done]", .flushed = ""},
    {.printed = "\r 10%\r\n\n", .lines = "[ 10%][]", .flushed = ""},
    {.printed = "a\r\r\nb", .lines = "[a]", .flushed = "[b]"},
    {.printed = "a\n\rb\n", .lines = "[a][b]", .flushed = ""},
    {.printed = {"a\0b\n", 4}, .lines = {"[a\0b]", 5}, .flushed = ""},
};

TEST(Lines, EndWhereTheProcessEndsThem) {
  for (const Case& one : kCases) {
    Notebook notebook;
    CHECK_EQ(notebook.Add(one.printed).seen(), one.lines);
    CHECK_EQ(notebook.unfinished(), !one.flushed.empty());
    CHECK_EQ(notebook.Flush().seen(), std::string(one.lines) + std::string(one.flushed));
    CHECK(!notebook.unfinished());
  }
}

TEST(Lines, TakeAnEndThatComesAfterTheFlushForThatOfTheLine) {
  Notebook notebook;
  CHECK_EQ(notebook.Add("loading").Flush().Add("\nready\n").seen(), "[loading][ready]");
  CHECK_EQ(notebook.Add("a").Flush().Add("b\n\n").seen(), "[loading][ready][a][b][]");
}

TEST(Lines, AreCutWhenTheyAreTooLong) {
  CHECK_EQ(Notebook(4).Add("abcd\n").seen(), "[abcd]");
  CHECK_EQ(Notebook(4).Add("abcde\n").seen(), "[abcd][e]");
  CHECK_EQ(Notebook(4).Add("abcdefghi").Flush().seen(), "[abcd][efgh][i]");
  Notebook notebook;
  notebook.Add(std::string(100'000, 'x') + "\n");
  CHECK_EQ(std::ranges::count(notebook.seen(), '['), 7);  // of 16 KiB
  CHECK_EQ(std::ranges::count(notebook.seen(), 'x'), 100'000);
}

TEST(Lines, AreCutBetweenTwoCharacters) {
  CHECK_EQ(Notebook(4).Add("abc\u00fcd\n").seen(), "[abc][\u00fcd]");
  CHECK_EQ(Notebook(4).Add("ab\u20acd\n").seen(), "[ab][\u20acd]");
  CHECK_EQ(Notebook(4).Add("a\U0001f600b\n").seen(), "[a][\U0001f600][b]");
  // What is no UTF-8 is cut anywhere, but it is all there.
  CHECK_EQ(Notebook(4).Add("\x80\x80\x80\x80\x80\n").seen(), "[\x80\x80\x80\x80][\x80]");
  CHECK_EQ(Notebook(4).Add("abcd\xff\n").seen(), "[abcd][\xff]");
}

std::string RandomBytes(std::mt19937& random) {
  // Few letters, so that ends of lines and beginnings of characters come often.
  constexpr std::string_view kLetters{"ab\n\n\r\r\0\x80\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 18};
  std::string bytes(random() % 40, '\0');
  std::ranges::generate(bytes, [&] { return kLetters[random() % kLetters.size()]; });
  return bytes;
}

TEST(Lines, AreTheSameHoweverTheBytesArrive) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::string bytes = RandomBytes(random);
    const std::size_t longest = 4 + random() % 6;
    Notebook pieces(longest);
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = 1 + random() % 5;
      pieces.Add(std::string_view(bytes).substr(at, size));
      at += size;
    }
    CHECK_EQ(pieces.Flush().seen(), Notebook(longest).Add(bytes).Flush().seen());
  }
}

TEST(Printable, LeavesTextAlone) {
  for (const std::string_view text : {"", "plain", "tab\tx", "\u00fc \u20ac \U0001f600 \u00a0 \U0010ffff"}) {
    CHECK_EQ(Printable(text, Newlines::kEscape), text);
  }
}

TEST(Printable, EscapesWhatCouldSteerATerminal) {
  CHECK_EQ(Printable("\x1b[31mred\x7f\b", Newlines::kEscape), "\\x1b[31mred\\x7f\\x08");
  CHECK_EQ(Printable(std::string_view("a\0b", 3), Newlines::kEscape), "a\\x00b");
  CHECK_EQ(Printable("\u009b31m", Newlines::kEscape), "\\u009b31m");
  CHECK_EQ(Printable("a\nb\r", Newlines::kEscape), "a\\x0ab\\x0d");
  CHECK_EQ(Printable("a\nb\r", Newlines::kKeep), "a\nb\\x0d");
}

TEST(Printable, EscapesWhatIsNoUtf8) {
  CHECK_EQ(Printable("\xff", Newlines::kKeep), "\\xff");
  CHECK_EQ(Printable("a\xc3", Newlines::kKeep), "a\\xc3");
  CHECK_EQ(Printable("\xc3(", Newlines::kKeep), "\\xc3(");
  CHECK_EQ(Printable("\xe2\x82", Newlines::kKeep), "\\xe2\\x82");
  CHECK_EQ(Printable("\xc0\xaf", Newlines::kKeep), "\\xc0\\xaf");                    // too long a form
  CHECK_EQ(Printable("\xe0\x80\xaf", Newlines::kKeep), "\\xe0\\x80\\xaf");           // too long a form
  CHECK_EQ(Printable("\xed\xa0\x80", Newlines::kKeep), "\\xed\\xa0\\x80");           // a surrogate
  CHECK_EQ(Printable("\xf0\x80\x80\x80", Newlines::kKeep), "\\xf0\\x80\\x80\\x80");  // too long a form
  CHECK_EQ(Printable("\xf4\x90\x80\x80", Newlines::kKeep), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
  CHECK_EQ(Printable("\xf5\x80\x80\x80", Newlines::kKeep), "\\xf5\\x80\\x80\\x80");
}

}  // namespace
