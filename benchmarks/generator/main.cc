// Asks one model of a server in this process as fast as it answers, checks the answers, and prints what it
// took.
//
// Prints one JSON object on stdout; whatever else anybody has to say goes to stderr. Exit status: 0 measured
// (the object says how many answers were wrong), 1 not measured (the object says why), 2 wrong usage.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "benchmarks/generator/arguments.h"
#include "benchmarks/generator/report.h"
#include "benchmarks/generator/stop.h"

namespace {

using namespace tpb::bench;

// The stubs of a backend inherit stdout, and models print: from here on all of that is stderr.
std::FILE* SetStdoutAside() {
  const int aside = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  if (aside < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    throw std::runtime_error("cannot set stdout aside");
  }
  return fdopen(aside, "w");
}

std::string MeasureRequests(Server& server, const Arguments& arguments) {
  const auto load = server.Load(arguments.model);
  ThrowIfStopped();
  Measurement measurement;
  {
    std::vector<std::unique_ptr<Client>> clients;
    clients.reserve(arguments.clients);
    for (std::uint32_t i = 0; i < arguments.clients; ++i) {
      clients.push_back(
          std::make_unique<Client>(server, arguments.model, Payload(arguments.payload, arguments.size, i)));
    }
    const Measurement warm_up = Measure(clients, arguments.warm_up, arguments.whole_every);
    measurement = Measure(clients, arguments.window, arguments.whole_every);
    measurement.warm_up_requests = warm_up.latencies.size();
    measurement.checked_whole += warm_up.checked_whole;
    measurement.wrong += warm_up.wrong;
    if (measurement.first_difference.empty()) {
      measurement.first_difference = warm_up.first_difference;
    }
  }
  server.Unload(arguments.model);
  return ReportOf(measurement, load);
}

// Each load is followed by one request: READY means that the model answers.
std::string MeasureLoads(Server& server, const Arguments& arguments) {
  std::vector<std::chrono::nanoseconds> loads;
  Measurement checks;
  for (std::uint32_t i = 0; i < arguments.loads; ++i) {
    loads.push_back(server.Load(arguments.model));
    {
      Client client(server, arguments.model, Payload(arguments.payload, arguments.size, i));
      auto [latency, difference] = client.Ask(Extent::kWhole);
      checks.latencies.push_back(latency);
      ++checks.checked_whole;
      checks.wrong += difference.empty() ? 0 : 1;
      checks.first_difference = checks.first_difference.empty() ? difference : checks.first_difference;
    }
    server.Unload(arguments.model);
    ThrowIfStopped();
  }
  return ReportOf(loads, checks);
}

std::string Run(const Arguments& arguments) {
  const Api api = Api::Open(arguments.server_library);
  Server server(api, arguments.server);
  return arguments.loads > 0 ? MeasureLoads(server, arguments) : MeasureRequests(server, arguments);
}

int Print(std::FILE* to, const std::string& report, int status) {
  std::fprintf(to, "%s\n", report.c_str());
  return std::fclose(to) == 0 ? status : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::FILE* output = stdout;
  try {
    const Arguments arguments = ParseArguments({argv + 1, argv + argc});
    output = SetStdoutAside();
    ListenForStop();
    return Print(output, Run(arguments), 0);
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "generator: %s\n", error.what());
    return 2;
  } catch (const ServerError& error) {
    return Print(output, ReportOfError(error.code(), error.what()), 1);
  } catch (const std::exception& error) {
    return Print(output, ReportOfError("", error.what()), 1);
  }
}
