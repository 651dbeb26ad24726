#include "benchmarks/generator/measure.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "benchmarks/generator/processes.h"
#include "benchmarks/generator/stop.h"

namespace tpb::bench {
namespace {

using Clock = std::chrono::steady_clock;

// What the threads of one measurement share.
struct Course {
  Clock::time_point deadline;
  std::uint64_t whole_every = 1;
  std::atomic<std::int64_t> left{0};
  std::atomic<bool> over{false};
};

// What one client's thread found; nobody else looks before it has ended.
struct Part {
  std::vector<std::chrono::nanoseconds> latencies;
  std::chrono::nanoseconds cpu{};
  std::uint64_t checked_whole = 0;
  std::uint64_t wrong = 0;
  std::string first_difference;
  std::exception_ptr error;
};

void AskOnce(Client& client, std::uint64_t index, const Course& course, Part& part) {
  const Extent extent = index % course.whole_every == 0 ? Extent::kWhole : Extent::kProbes;
  auto [latency, difference] = client.Ask(extent);
  part.latencies.push_back(latency);
  part.checked_whole += extent == Extent::kWhole ? 1 : 0;
  if (!difference.empty()) {
    ++part.wrong;
    if (part.first_difference.empty()) {
      part.first_difference = std::move(difference);
    }
  }
}

void AskUntilOver(Client& client, Course& course, Part& part) noexcept {
  try {
    for (std::uint64_t index = 0; index == 0 || !course.over.load(std::memory_order_relaxed); ++index) {
      AskOnce(client, index, course, part);
      if (course.left.fetch_sub(1, std::memory_order_relaxed) <= 1 || Clock::now() >= course.deadline ||
          StopRequested()) {
        course.over.store(true, std::memory_order_relaxed);
      }
    }
  } catch (...) {
    part.error = std::current_exception();
    course.over.store(true, std::memory_order_relaxed);
  }
  part.cpu = ThreadCpuTime();
}

void Add(Measurement& whole, Part& part) {
  if (part.error) {
    std::rethrow_exception(part.error);
  }
  whole.latencies.insert(whole.latencies.end(), part.latencies.begin(), part.latencies.end());
  whole.client_cpu += part.cpu;
  whole.checked_whole += part.checked_whole;
  whole.wrong += part.wrong;
  if (whole.first_difference.empty()) {
    whole.first_difference = std::move(part.first_difference);
  }
}

}  // namespace

Measurement Measure(std::span<const std::unique_ptr<Client>> clients, Limit limit,
                    std::uint64_t whole_every) {
  std::vector<Part> parts(clients.size());
  for (auto& part : parts) {
    part.latencies.reserve(std::min<std::uint64_t>(limit.requests, 1U << 20U));
  }
  const auto cpu_before = CpuTimesNow();
  const auto start = Clock::now();
  Course course{.deadline = start + std::chrono::duration_cast<Clock::duration>(limit.time),
                .whole_every = whole_every,
                .left = static_cast<std::int64_t>(limit.requests)};
  {
    std::vector<std::jthread> threads;
    threads.reserve(clients.size());
    for (std::size_t i = 0; i < clients.size(); ++i) {
      threads.emplace_back([&, i] { AskUntilOver(*clients[i], course, parts[i]); });
    }
  }
  Measurement whole;
  whole.elapsed = Clock::now() - start;
  const auto cpu = CpuUsed(cpu_before, CpuTimesNow());
  ThrowIfStopped();
  for (auto& part : parts) {
    Add(whole, part);
  }
  whole.server_cpu = cpu - whole.client_cpu;
  std::ranges::sort(whole.latencies);
  return whole;
}

}  // namespace tpb::bench
