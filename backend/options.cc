#include "backend/options.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>
#include <vector>

#include "ipc/error.h"

namespace tpb::backend {
namespace {

constexpr std::array kOurKeys{
    "environment-cache-directory", "environment-cache-max-byte-size",
    "python-executable",           "stub-restart",
    "stub-restart-max-deaths",     "stub-restart-wait-seconds",
    "shm-default-byte-size",       "shm-growth-byte-size",
    "shm-max-byte-size",           "shm-region-prefix-name",
    "shm-release-after-seconds",   "shm-total-max-byte-size",
    "shm_message_queue_size",      "stub-keeps-heap",
    "stub-timeout-seconds",        "thread-pool-size",
    "unload-timeout-seconds",
};

// Core puts these into every backend's settings.
constexpr std::array kCoreKeys{
    "auto-complete-config",
    "backend-directory",
    "default-max-batch-size",
    "min-compute-capability",
};

[[noreturn]] void Refuse(const std::string& message) { throw ipc::Error(ipc::Code::kInvalidArg, message); }

std::size_t EditDistance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> row(right.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::size_t replaced = diagonal + (left[i] == right[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

void RefuseUnknown(const std::string& key) {
  const auto is_key = [&key](const char* known) { return key == known; };
  if (std::ranges::any_of(kOurKeys, is_key) || std::ranges::any_of(kCoreKeys, is_key)) {
    return;
  }
  const std::string nearest =
      *std::ranges::min_element(kOurKeys, {}, [&key](const char* known) { return EditDistance(key, known); });
  Refuse("unknown setting '" + key + "' in --backend-config=python,...: did you mean '" + nearest + "'?");
}

class Reader {
 public:
  explicit Reader(const std::map<std::string, std::string>& settings) : settings_(settings) {}

  const std::string* Find(const char* key) const {
    const auto found = settings_.find(key);
    return found == settings_.end() ? nullptr : &found->second;
  }

  // As std::stol reads it, text after the number and all; not a number at all is the text of GCC's std::stol,
  // which clients of upstream's backend know. Other C++ libraries say more.
  void Number(const char* key, std::int64_t& value, std::int64_t least, const std::string& complaint) const {
    const std::string* text = Find(key);
    if (text == nullptr) {
      return;
    }
    try {
      value = std::stol(*text);
    } catch (const std::exception&) {
      Refuse("stol");
    }
    if (value < least) {
      Refuse(complaint);
    }
  }

  void Seconds(const char* key, std::chrono::seconds& value) const {
    std::int64_t number = value.count();
    Number(key, number, 1, std::string(key) + " can't be smaller than or equal to zero.");
    value = std::chrono::seconds(number);
  }

  void YesOrNo(const char* key, bool& value) const {
    const std::string* text = Find(key);
    if (text == nullptr) {
      return;
    }
    if (*text != "true" && *text != "false") {
      Refuse(std::string(key) + " must be 'true' or 'false', not '" + *text + "'.");
    }
    value = *text == "true";
  }

 private:
  const std::map<std::string, std::string>& settings_;
};

}  // namespace

Options ReadOptions(const std::map<std::string, std::string>& settings, const std::string& name) {
  // A python-based backend has settings of its own beside these, for its model.py to read.
  if (name == "python") {
    for (const auto& [key, value] : settings) {
      RefuseUnknown(key);
    }
  }
  constexpr std::int64_t kMiB = std::int64_t{1} << 20;
  constexpr std::int64_t kLongest = std::int64_t{1} << 31;  // it travels as a 32-bit number
  Options options;
  const Reader reader(settings);
  // The text names four times the real limit, as it always has.
  reader.Number("shm-default-byte-size", options.shm_default_byte_size, kMiB,
                "shm-default-byte-size can't be smaller than 4 MiBs");
  reader.Number("shm-growth-byte-size", options.shm_growth_byte_size, 1,
                "shm-growth-byte-size can't be smaller than or equal to zero.");
  std::int64_t release_after = options.shm_release_after.count();
  reader.Number("shm-release-after-seconds", release_after, 0,
                "shm-release-after-seconds can't be smaller than zero.");
  options.shm_release_after = std::chrono::seconds(std::min(release_after, kLongest));
  reader.YesOrNo("stub-keeps-heap", options.stub_keeps_heap);
  reader.YesOrNo("stub-restart", options.restart);
  reader.Number("stub-restart-max-deaths", options.restart_max_deaths, 1,
                "stub-restart-max-deaths can't be less than 1.");
  options.restart_max_deaths = std::min(options.restart_max_deaths, std::int64_t{1'000'000});
  std::int64_t restart_wait = options.restart_wait.count();
  reader.Number("stub-restart-wait-seconds", restart_wait, 0,
                "stub-restart-wait-seconds can't be smaller than zero.");
  options.restart_wait = std::chrono::seconds(std::min(restart_wait, kLongest));
  reader.Seconds("stub-timeout-seconds", options.stub_timeout);
  reader.Seconds("unload-timeout-seconds", options.unload_timeout);
  reader.Number("thread-pool-size", options.thread_pool_size, 1, "thread-pool-size can't be less than 1.");
  reader.Number("shm_message_queue_size", options.shm_message_queue_size, 1,
                "shm_message_queue_size can't be less than 1.");
  std::int64_t max_bytes = 0;
  reader.Number("shm-max-byte-size", max_bytes, 4 * kMiB, "shm-max-byte-size can't be smaller than 4 MiBs");
  options.shm_max_byte_size = static_cast<std::uint64_t>(max_bytes);
  std::int64_t total_max_bytes = 0;
  reader.Number("shm-total-max-byte-size", total_max_bytes, 4 * kMiB,
                "shm-total-max-byte-size can't be smaller than 4 MiBs");
  options.shm_total_max_byte_size = static_cast<std::uint64_t>(total_max_bytes);
  options.shm_region_prefix_name = "triton_" + name + "_backend_shm_region_";
  if (const std::string* prefix = reader.Find("shm-region-prefix-name"); prefix != nullptr) {
    if (prefix->empty()) {
      Refuse("shm-region-prefix-name must at least contain one character.");
    }
    options.shm_region_prefix_name = *prefix;
  }
  reader.Number("environment-cache-max-byte-size", options.environment_cache_max_byte_size, 0,
                "environment-cache-max-byte-size can't be smaller than zero.");
  if (const std::string* path = reader.Find("environment-cache-directory"); path != nullptr) {
    if (!path->starts_with('/')) {
      Refuse("environment-cache-directory must be an absolute path, not '" + *path + "'.");
    }
    options.environment_cache_directory = *path;
  }
  if (const std::string* path = reader.Find("python-executable"); path != nullptr) {
    options.python_executable = *path;
  }
  return options;
}

}  // namespace tpb::backend
