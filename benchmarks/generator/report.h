// What the generator found, as one JSON object on one line.
#pragma once

#include <chrono>
#include <span>
#include <string>

#include "benchmarks/generator/measure.h"

namespace tpb::bench {

std::string ReportOf(const Measurement& measurement, std::chrono::nanoseconds load);
std::string ReportOf(std::span<const std::chrono::nanoseconds> loads, const Measurement& checks);

// `code` is that of a server's answer ("Unsupported"), or empty.
std::string ReportOfError(const std::string& code, const std::string& message);

}  // namespace tpb::bench
