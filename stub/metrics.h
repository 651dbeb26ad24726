// A model's own numbers on the server's metrics page. The server knows each by a number that it gave; updates
// are sent without waiting for an answer, so what they may do is checked here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ipc/wire.h"
#include "stub/connection.h"
#include "stub/fork.h"

namespace tpb::stub {

// What a family and its metrics share: either may end first. Used with the GIL held, as all of this file.
struct FamilyState {
  std::shared_ptr<Connection> connection;  // that the family was made through
  ipc::MetricKind kind = ipc::MetricKind::kCounter;
  std::uint64_t handle = 0;
  bool deleted = false;
  Birthplace birthplace{};
};

class Metric {
 public:
  Metric(std::shared_ptr<FamilyState> family, std::uint64_t handle);
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;
  Metric(Metric&&) = delete;
  Metric& operator=(Metric&&) = delete;
  ~Metric();

  // Throw Error for what this kind of metric cannot do, and once the family is deleted.
  void Increment(double value) const;
  void Set(double value) const;
  void Observe(double value) const;

  // Asks the server, for other models may count in the same metric.
  [[nodiscard]] double Value() const;

 private:
  void Update(const char* doing, const char* method, ipc::MetricUpdate what, double value) const;

  const std::shared_ptr<FamilyState> family_;  // shared with the family and its other metrics
  const std::uint64_t handle_;
};

class MetricFamily {
 public:
  // Throws Error with what the server refuses.
  MetricFamily(const std::string& name, const std::string& description, ipc::MetricKind kind);
  MetricFamily(const MetricFamily&) = delete;
  MetricFamily& operator=(const MetricFamily&) = delete;
  MetricFamily(MetricFamily&&) = delete;
  MetricFamily& operator=(MetricFamily&&) = delete;
  // Deletes its metrics as well.
  ~MetricFamily();

  [[nodiscard]] ipc::MetricKind kind() const noexcept { return state_->kind; }

  // `buckets` are those of a histogram. Throws Error with what the server refuses.
  [[nodiscard]] std::unique_ptr<Metric> NewMetric(const std::map<std::string, std::string>& labels,
                                                  std::vector<double> buckets) const;

  // An error about a metric that was not made; `text` says why.
  [[nodiscard]] ipc::Error Refusal(std::string_view text) const;

 private:
  const std::shared_ptr<FamilyState> state_;  // shared with the metrics
};

}  // namespace tpb::stub
