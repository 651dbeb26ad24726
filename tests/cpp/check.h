// A small test harness. A test is a function that returns or throws; a failed CHECK throws, so nothing after
// it runs.
//
//   TEST(Arena, ReusesAFreedBlock) { CHECK_EQ(first, second); }
//
// check_main.cc runs them. The macros work in threads too, when the test joins these through a std::future.
#pragma once

#include <concepts>
#include <exception>
#include <ostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tpb::testing {

struct Test {
  std::string name;  // "Suite.Sentence"
  void (*body)();
};

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

struct Registration {
  Registration(const char* suite, const char* name, void (*body)()) {
    Tests().push_back({std::string(suite) + "." + name, body});
  }
};

class Failure : public std::exception {
 public:
  Failure(const char* file, int line, const std::string& what)
      : what_(std::string(file) + ":" + std::to_string(line) + ": " + what) {}
  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string what_;
};

template <typename Value>
std::string Shown(const Value& value) {
  std::ostringstream text;
  if constexpr (std::is_enum_v<Value>) {
    text << static_cast<long long>(value);
  } else if constexpr (requires { text << value; }) {
    text << value;
  } else {
    text << "a value that cannot be shown";
  }
  return text.str();
}

template <typename Left, typename Right>
void CheckEqual(const Left& left, const Right& right, const char* what, const char* file, int line) {
  bool equal = false;
  if constexpr (std::integral<Left> && std::integral<Right> && !std::same_as<Left, bool>) {
    equal = std::cmp_equal(left, right);
  } else {
    equal = left == right;
  }
  if (!equal) {
    throw Failure(file, line,
                  std::string(what) + ", but they are '" + Shown(left) + "' and '" + Shown(right) + "'");
  }
}

}  // namespace tpb::testing

#define TEST(suite, name)                                                                       \
  static void suite##_##name();                                                                 \
  static const ::tpb::testing::Registration suite##_##name##_at(#suite, #name, suite##_##name); \
  static void suite##_##name()

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) throw ::tpb::testing::Failure(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_EQ(left, right) ::tpb::testing::CheckEqual(left, right, #left " == " #right, __FILE__, __LINE__)

// The value is the exception's text.
#define CHECK_THROWS(Type, expression)                                                           \
  [&]() -> std::string {                                                                         \
    try {                                                                                        \
      static_cast<void>(expression);                                                             \
    } catch (const Type& thrown) {                                                               \
      return thrown.what();                                                                      \
    }                                                                                            \
    throw ::tpb::testing::Failure(__FILE__, __LINE__, #expression " should have thrown " #Type); \
  }()
