// What /proc tells about this process and those that its server has started: a backend's stubs.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <vector>

namespace tpb::bench {

// The processes that descend from this one.
std::vector<pid_t> Descendants();

// Whether every thread of this process but the caller's sleeps.
bool OtherThreadsSleep();

// Processor time that this process and its descendants have used, by process.
using CpuTimes = std::map<pid_t, std::chrono::nanoseconds>;
CpuTimes CpuTimesNow();

// What was used between two looks; a process that came in between counts whole, one that went not at all.
std::chrono::nanoseconds CpuUsed(const CpuTimes& before, const CpuTimes& after);

// Processor time of the calling thread alone.
std::chrono::nanoseconds ThreadCpuTime();

}  // namespace tpb::bench
