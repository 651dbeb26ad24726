// --backend-config: the JSON that core prints, the values, the texts.
#include <map>
#include <string>

#include "backend/options.h"
#include "backend/string_map.h"
#include "ipc/error.h"
#include "tests/cpp/check.h"

namespace {

using tpb::backend::ReadOptions;
using tpb::backend::ReadStringMap;
using Settings = std::map<std::string, std::string>;

std::string Refusal(const std::string& key, const std::string& value) {
  return CHECK_THROWS(tpb::ipc::Error, ReadOptions({{key, value}}, "python"));
}

TEST(Options, HaveTheDocumentedDefaults) {
  const auto options = ReadOptions({{"auto-complete-config", "true"}, {"backend-directory", "/b"}}, "python");

  CHECK_EQ(options.shm_default_byte_size, 1 << 20);
  CHECK_EQ(options.stub_timeout.count(), 30);
  CHECK_EQ(options.shm_release_after.count(), 10);
  CHECK(options.stub_keeps_heap);
  CHECK_EQ(options.shm_region_prefix_name, "triton_python_backend_shm_region_");
}

TEST(Options, RefuseBadValuesWithTheDocumentedTexts) {
  CHECK_EQ(Refusal("shm-default-byte-size", "1048575"), "shm-default-byte-size can't be smaller than 4 MiBs");
  CHECK_EQ(Refusal("shm-growth-byte-size", "0"),
           "shm-growth-byte-size can't be smaller than or equal to zero.");
  CHECK_EQ(Refusal("stub-timeout-seconds", "-1"),
           "stub-timeout-seconds can't be smaller than or equal to zero.");
  CHECK_EQ(Refusal("thread-pool-size", "0"), "thread-pool-size can't be less than 1.");
  CHECK_EQ(Refusal("shm-region-prefix-name", ""),
           "shm-region-prefix-name must at least contain one character.");
  CHECK_EQ(Refusal("stub-timeout-seconds", "soon"), "stol");
  CHECK_EQ(Refusal("shm-release-after-seconds", "-1"),
           "shm-release-after-seconds can't be smaller than zero.");
  CHECK_EQ(Refusal("shm-total-max-byte-size", "1"), "shm-total-max-byte-size can't be smaller than 4 MiBs");
  CHECK_EQ(Refusal("stub-keeps-heap", "yes"), "stub-keeps-heap must be 'true' or 'false', not 'yes'.");
}

TEST(Options, TakeANumberWithTextBehindIt) {
  CHECK_EQ(ReadOptions({{"stub-timeout-seconds", "7s"}}, "python").stub_timeout.count(), 7);
}

TEST(Options, TakeNeverForTheTimeAfterWhichMemoryGoesBack) {
  CHECK_EQ(ReadOptions({{"shm-release-after-seconds", "0"}}, "python").shm_release_after.count(), 0);
  CHECK(!ReadOptions({{"stub-keeps-heap", "false"}}, "python").stub_keeps_heap);
}

TEST(Options, NameTheNearestKeyToAnUnknownOne) {
  CHECK_EQ(Refusal("pyhton-executable", "x"),
           "unknown setting 'pyhton-executable' in --backend-config=python,...: did you mean "
           "'python-executable'?");
}

TEST(Options, LeaveTheSettingsOfAPythonBasedBackendAlone) {
  CHECK_EQ(ReadOptions({{"engine-args", "x"}}, "vllm").shm_region_prefix_name,
           "triton_vllm_backend_shm_region_");
}

TEST(StringMap, ReadsTheStringsOfOneMember) {
  const auto map = ReadStringMap(
      R"({"other":[1,{"a":null}],"cmdline":{"a":"1","b":2,"c":"x\"\u00e9\\","d":{"e":"f"},"g":"h"}, "z" : {}})",
      "cmdline");

  CHECK(map == (Settings{{"a", "1"}, {"c", "x\"\xc3\xa9\\"}, {"g", "h"}}));
  CHECK(ReadStringMap("{}", "cmdline").empty());
  CHECK(ReadStringMap(R"({"cmdline":"no object"})", "cmdline").empty());
}

TEST(StringMap, RefusesWhatIsNotJson) {
  const std::string deep(100000, '[');
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{\"a\""), std::string("{\"a\":"),
        std::string("{\"a\":\"\\q\"}"), std::string("{\"a\":\"\\u12\"}"), std::string("{\"a\":1"),
        "{\"a\":" + deep}) {
    CHECK_THROWS(tpb::ipc::Error, ReadStringMap(text, "cmdline"));
  }
}

}  // namespace
