// From which library is the table of C API functions filled, and what is said when it cannot be?
// Usage: resolve_test <partial stand-in> <complete stand-in> <probe> <copy of the probe>
//
// Every case runs in a process of its own, because a process loads a library, and resolves, only once.
#include "triton_c_api/resolve.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <latch>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "probe_backend.h"

namespace {

using tpb::triton::Functions;

struct Files {
  std::string partial, complete, probe, probe_copy;
};

void Expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

void* Open(const std::string& path, int scope = RTLD_LOCAL) {
  void* library = dlopen(path.c_str(), RTLD_NOW | scope);
  Expect(library != nullptr, "dlopen: " + path);
  return library;
}

template <typename Function>
Function* Find(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  Expect(symbol != nullptr, std::string("dlsym: ") + name);
  return reinterpret_cast<Function*>(symbol);
}

// The probe, called by a stand-in server or, without one, by this program.
template <typename Report>
Report Call(void* server, void* probe, const char* entry_name) {
  Report report;
  auto* entry = Find<void(void*)>(probe, entry_name);
  if (server == nullptr) {
    entry(&report);
  } else {
    Find<void(void (*)(void*), void*)>(server, "StandInCall")(entry, &report);
  }
  return report;
}

ResolveReport Resolve(void* server, void* probe) {
  return Call<ResolveReport>(server, probe, "ProbeResolve");
}

TRITONSERVER_Error* Check(void* server, void* probe) {
  return Call<CheckReport>(server, probe, "ProbeCheck").error;
}

// Every member is the library's own function, or null where the library has none.
void ExpectTableOf(void* library, const Functions& table) {
#define TPB_FUNCTION(result, name, parameters) \
  Expect(reinterpret_cast<void*>(table.name) == dlsym(library, #name), "wrong or absent: " #name);
#include "triton_c_api/backend_functions.inc"
#undef TPB_FUNCTION
  Expect(table.TRITONSERVER_ApiVersion != nullptr, "an empty table");
}

void TableIsTheCallersThoughAnotherLibraryIsLoaded(const Files& files) {
  void* partial = Open(files.partial);
  void* complete = Open(files.complete);

  const ResolveReport by_complete = Resolve(complete, Open(files.probe));
  const ResolveReport by_partial = Resolve(partial, Open(files.probe_copy));

  ExpectTableOf(complete, *by_complete.resolved);
  ExpectTableOf(partial, *by_partial.resolved);
  Expect(by_complete.api == by_complete.resolved, "Api() is not what Resolve() filled");
}

void TableIsTheCallersThoughAnotherIsInTheGlobalScope(const Files& files) {
  Open(files.partial, RTLD_GLOBAL);
  void* complete = Open(files.complete);

  const ResolveReport report = Resolve(complete, Open(files.probe));

  ExpectTableOf(complete, *report.resolved);
}

void CompleteLibraryIsAccepted(const Files& files) {
  void* complete = Open(files.complete);
  void* probe = Open(files.probe);

  const ResolveReport report = Resolve(complete, probe);

  Expect(report.error.empty(), "unexpected: " + report.error);
  Expect(Check(complete, probe) == nullptr, "CheckCaller refused a complete library");
}

void MissingNamesAreReportedWithThePath(const Files& files) {
  void* partial = Open(files.partial);
  std::string names;
#define TPB_FUNCTION(result, name, parameters) \
  if (dlsym(partial, #name) == nullptr) names += names.empty() ? #name : ", " #name;
#include "triton_c_api/backend_functions.inc"
#undef TPB_FUNCTION

  const ResolveReport report = Resolve(partial, Open(files.probe));

  Expect(names.find("TRITONSERVER_ServerInferAsync") != names.npos, "the partial stand-in is complete");
  Expect(names.find("TRITONSERVER_ErrorNew") == names.npos, "the partial stand-in is empty");
  Expect(report.error == "libtritonserver at " + files.partial + " lacks " + names, "wrong: " + report.error);
}

void SecondLibraryIsRefusedWithAnErrorOfItsOwn(const Files& files) {
  void* first = Open(files.complete);
  void* second = Open(files.partial);
  void* probe = Open(files.probe);
  Resolve(first, probe);

  TRITONSERVER_Error* error = Check(second, probe);

  Expect(error != nullptr, "the second library was accepted");
  const std::string message =
      Find<const char*(TRITONSERVER_Error*)>(second, "TRITONSERVER_ErrorMessage")(error);
  Expect(message.find("already serves the libtritonserver at " + files.complete) != message.npos, message);
  Expect(Find<int()>(second, "StandInLiveErrors")() == 1, "the error was not made by the second library");
  Expect(Find<int()>(first, "StandInLiveErrors")() == 0, "the error was made by the first library");
  Find<void(TRITONSERVER_Error*)>(second, "TRITONSERVER_ErrorDelete")(error);
  Expect(Check(first, probe) == nullptr, "the first library is no longer served");
}

void LibraryOpenedByARelativePathIsFoundFromAnotherFolder(const Files& files) {
  const std::filesystem::path path = files.complete;
  std::filesystem::current_path(path.parent_path());
  void* complete = Open("./" + path.filename().string());
  Open(files.partial);
  std::filesystem::current_path("/");

  const ResolveReport report = Resolve(complete, Open(files.probe));

  ExpectTableOf(complete, *report.resolved);
}

void CallerThatIsNoServerGetsTheGlobalScope(const Files& files) {
  void* complete = Open(files.complete, RTLD_GLOBAL);
  Open(files.partial);

  const ResolveReport report = Resolve(nullptr, Open(files.probe));

  ExpectTableOf(complete, *report.resolved);
  Expect(report.error.empty(), "unexpected: " + report.error);
}

void CallerThatIsNoServerGetsTheOnlyLoadedLibrary(const Files& files) {
  void* complete = Open(files.complete);

  const ResolveReport report = Resolve(nullptr, Open(files.probe));

  ExpectTableOf(complete, *report.resolved);
  Expect(report.error.empty(), "unexpected: " + report.error);
}

void NoneOfTwoLibrariesIsGuessed(const Files& files) {
  Open(files.complete);
  Open(files.partial);

  const ResolveReport report = Resolve(nullptr, Open(files.probe));

  Expect(report.error.starts_with("no libtritonserver found"), "wrong: " + report.error);
  Expect(report.resolved->TRITONSERVER_ErrorNew == nullptr, "a library was guessed");
}

void CallerWithoutErrorsEndsTheProcessWithTheReason(const Files& files) {
  void* probe = Open(files.probe);
  int output[2];
  Expect(pipe(output) == 0, "pipe");

  const pid_t child = fork();
  if (child == 0) {
    dup2(output[1], STDERR_FILENO);
    Check(nullptr, probe);
    _exit(0);
  }
  close(output[1]);
  char text[4096];
  const ssize_t size = read(output[0], text, sizeof text);
  int status = 0;
  waitpid(child, &status, 0);

  Expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "the process went on");
  const std::string_view said(text, size > 0 ? static_cast<size_t>(size) : 0);
  Expect(said.starts_with("no libtritonserver found"), "wrong: " + std::string(said));
}

void FirstCallsFromManyThreadsFillOneTable(const Files& files) {
  constexpr int kThreads = 8;
  void* complete = Open(files.complete);
  void* probe = Open(files.probe);
  std::vector<ResolveReport> reports(kThreads);
  std::latch start(kThreads);

  std::vector<std::thread> threads;
  for (ResolveReport& report : reports) {
    threads.emplace_back([&, complete, probe] {
      start.arrive_and_wait();
      report = Resolve(complete, probe);
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (const ResolveReport& report : reports) {
    Expect(report.resolved == reports.front().resolved, "two tables");
    Expect(report.error.empty(), "unexpected: " + report.error);
  }
  ExpectTableOf(complete, *reports.front().resolved);
}

void TableKeepsItsLibraryLoaded(const Files& files) {
  void* complete = Open(files.complete);
  Resolve(complete, Open(files.probe));

  dlclose(complete);

  Expect(dlopen(files.complete.c_str(), RTLD_NOLOAD | RTLD_LAZY) != nullptr, "the library is gone");
}

void TablesAreLoadedFromAHandle(const Files& files) {
  const auto of_complete = tpb::triton::LoadFunctions(Open(files.complete));
  const auto server_of_complete = tpb::triton::LoadServerFunctions(Open(files.complete));
  const auto server_of_partial = tpb::triton::LoadServerFunctions(Open(files.partial));

  Expect(tpb::triton::MissingNames(of_complete).empty(), "missing in the complete library");
  Expect(tpb::triton::MissingNames(server_of_complete).empty(), "missing in the complete library");
  const auto missing = tpb::triton::MissingNames(server_of_partial);
  Expect(std::find(missing.begin(), missing.end(), "TRITONSERVER_ServerNew") != missing.end(),
         "not reported");
}

using Case = std::pair<const char*, void (*)(const Files&)>;
#define CASE(name) \
  Case { #name, name }
const Case kCases[] = {
    CASE(TableIsTheCallersThoughAnotherLibraryIsLoaded),
    CASE(TableIsTheCallersThoughAnotherIsInTheGlobalScope),
    CASE(CompleteLibraryIsAccepted),
    CASE(MissingNamesAreReportedWithThePath),
    CASE(SecondLibraryIsRefusedWithAnErrorOfItsOwn),
    CASE(LibraryOpenedByARelativePathIsFoundFromAnotherFolder),
    CASE(CallerThatIsNoServerGetsTheGlobalScope),
    CASE(CallerThatIsNoServerGetsTheOnlyLoadedLibrary),
    CASE(NoneOfTwoLibrariesIsGuessed),
    CASE(CallerWithoutErrorsEndsTheProcessWithTheReason),
    CASE(FirstCallsFromManyThreadsFillOneTable),
    CASE(TableKeepsItsLibraryLoaded),
    CASE(TablesAreLoadedFromAHandle),
};
#undef CASE

// True when the case held; its process says why when it did not.
bool Run(const Case& test, const Files& files) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    int result = 0;
    try {
      test.second(files);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", test.first, error.what());
      result = 1;
    }
    std::exit(result);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return false;
  if (WIFSIGNALED(status)) std::fprintf(stderr, "%s: signal %d\n", test.first, WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s PARTIAL COMPLETE PROBE PROBE_COPY\n", argv[0]);
    return 2;
  }
  const Files files{argv[1], argv[2], argv[3], argv[4]};
  int failed = 0;
  for (const Case& test : kCases) {
    const bool held = Run(test, files);
    std::printf("%s %s\n", held ? "ok    " : "FAILED", test.first);
    failed += held ? 0 : 1;
  }
  return failed == 0 ? 0 : 1;
}
