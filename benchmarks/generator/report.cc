#include "benchmarks/generator/report.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

namespace tpb::bench {
namespace {

template <typename Unit>
double In(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, typename Unit::period>(time).count();
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') {
      quoted += '\\';
      quoted += letter;
    } else if (static_cast<unsigned char>(letter) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(letter));
      quoted += escape;
    } else {
      quoted += letter;
    }
  }
  return quoted + '"';
}

double Percentile(const Measurement& measurement, double share) {
  const auto& sorted = measurement.latencies;
  const auto index = static_cast<std::size_t>(share * static_cast<double>(sorted.size()));
  return In<std::chrono::microseconds>(sorted[std::min(index, sorted.size() - 1)]);
}

// The fields that every report about requests has.
void WriteAnswers(std::ostream& out, const Measurement& measurement) {
  out << R"("requests": )" << measurement.latencies.size() << R"(, "warm_up_requests": )"
      << measurement.warm_up_requests << R"(, "checked_whole": )" << measurement.checked_whole
      << R"(, "wrong": )" << measurement.wrong << R"(, "first_difference": )"
      << Quoted(measurement.first_difference);
}

}  // namespace

std::string ReportOf(const Measurement& measurement, std::chrono::nanoseconds load) {
  using std::chrono::microseconds;
  const auto count = static_cast<double>(measurement.latencies.size());
  std::ostringstream out;
  out.precision(12);
  out << "{";
  WriteAnswers(out, measurement);
  out << R"(, "seconds": )" << In<std::chrono::seconds>(measurement.elapsed) << R"(, "throughput": )"
      << count / In<std::chrono::seconds>(measurement.elapsed) << R"(, "p50_us": )"
      << Percentile(measurement, 0.50) << R"(, "p90_us": )" << Percentile(measurement, 0.90)
      << R"(, "p99_us": )" << Percentile(measurement, 0.99) << R"(, "cpu_us": )"
      << In<microseconds>(measurement.server_cpu) / count << R"(, "client_cpu_us": )"
      << In<microseconds>(measurement.client_cpu) / count << R"(, "load_ms": )"
      << In<std::chrono::milliseconds>(load) << "}";
  return out.str();
}

std::string ReportOf(std::span<const std::chrono::nanoseconds> loads, const Measurement& checks) {
  std::ostringstream out;
  out.precision(12);
  out << "{";
  WriteAnswers(out, checks);
  out << R"(, "loads_ms": [)";
  for (std::size_t i = 0; i < loads.size(); ++i) {
    out << (i == 0 ? "" : ", ") << In<std::chrono::milliseconds>(loads[i]);
  }
  out << "]}";
  return out.str();
}

std::string ReportOfError(const std::string& code, const std::string& message) {
  return R"({"error": )" + Quoted(message) + R"(, "code": )" + Quoted(code) + "}";
}

}  // namespace tpb::bench
