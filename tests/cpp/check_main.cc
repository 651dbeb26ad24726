// The program around the tests of one file: `<program> [part of a name]`. Every test runs, whatever the
// others did.
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "tests/cpp/check.h"

namespace {

bool Passes(const tpb::testing::Test& test) {
  std::fprintf(stderr, "%s\n", test.name.c_str());
  try {
    test.body();
    return true;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "  FAILED: %s\n", failure.what());
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  int run = 0;
  int failed = 0;
  for (const auto& test : tpb::testing::Tests()) {
    if (test.name.find(wanted) != std::string::npos) {
      ++run;
      failed += Passes(test) ? 0 : 1;
    }
  }
  std::fprintf(stderr, "%d tests, %d failed\n", run, failed);
  return run == 0 || failed != 0 ? 1 : 0;
}
