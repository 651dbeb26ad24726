#include "triton_c_api/resolve.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

namespace tpb::triton {
namespace {

// Whatever exports this is a libtritonserver.
constexpr const char* kMark = "TRITONSERVER_ApiVersion";

// Functions that some supported libtritonserver lacks, and whose every caller checks for null.
constexpr std::array<std::string_view, 0> kOptional{};

bool IsOptional(std::string_view name) { return std::ranges::find(kOptional, name) != kOptional.end(); }

// A new handle of the loaded object that contains the address; null when there is none or it has no name to
// be opened by (the program itself).
void* OpenObjectAt(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return nullptr;
  return dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY);
}

const void* BaseOfObjectAt(const void* address) {
  Dl_info info{};
  return dladdr(address, &info) == 0 ? nullptr : info.dli_fbase;
}

std::string PathOfObjectAt(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "an unknown place";
  return info.dli_fname;
}

// dlsym in the object at the address and in what it links; null when it is in neither.
void* SymbolNear(const void* address, const char* name) {
  void* object = OpenObjectAt(address);
  if (object == nullptr) return nullptr;
  void* symbol = dlsym(object, name);
  dlclose(object);
  return symbol;
}

std::vector<std::string> LoadedObjects() {
  // Names first and dlopen afterwards: dl_iterate_phdr holds a lock of the loader during the callback, and a
  // thread in dlopen takes the loader's locks in the other order.
  std::vector<std::string> paths;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) noexcept {
        const char* path = info->dlpi_name;
        if (path != nullptr && *path != '\0')
          static_cast<std::vector<std::string>*>(data)->emplace_back(path);
        return 0;
      },
      &paths);
  return paths;
}

// The mark in the only loaded library that exports it. Of several none is taken: a guess that is wrong hands
// one server's objects to another server's functions.
const void* MarkInLoadedObjects() {
  const void* found = nullptr;
  for (const std::string& path : LoadedObjects()) {
    void* object = dlopen(path.c_str(), RTLD_NOLOAD | RTLD_LAZY);
    if (object == nullptr) continue;
    const void* mark = dlsym(object, kMark);
    dlclose(object);
    if (mark == nullptr || mark == found) continue;
    if (found != nullptr) return nullptr;
    found = mark;
  }
  return found;
}

// An address inside the libtritonserver that the address belongs to, or else inside the one that can be
// meant.
const void* MarkFor(const void* address) {
  if (const void* mark = SymbolNear(address, kMark)) return mark;
  if (const void* mark = dlsym(RTLD_DEFAULT, kMark)) return mark;
  return MarkInLoadedObjects();
}

template <typename Pointer>
void Look(void* library, const char* name, Pointer& member) {
  static_assert(std::is_function_v<std::remove_pointer_t<Pointer>>);
  member = reinterpret_cast<Pointer>(dlsym(library, name));
}

Functions FunctionsFor(const void* return_address) {
  const void* mark = MarkFor(return_address);
  if (mark == nullptr) return Functions{};
  // Never closed: the table points into the library, so it keeps the library loaded.
  void* library = OpenObjectAt(mark);
  // Without a handle of its own the mark is in the program itself, whose symbols are the global scope.
  return LoadFunctions(library != nullptr ? library : RTLD_DEFAULT);
}

// Of the first caller only the address counts; Api() passes null and gets what the fall-backs find.
const Functions& Table(const void* return_address) {
  static_assert(std::is_trivially_destructible_v<Functions>);
  static const Functions table = FunctionsFor(return_address);
  return table;
}

void Note(std::vector<std::string_view>& missing, std::string_view name, bool found) {
  if (!found && !IsOptional(name)) missing.push_back(name);
}

std::string Join(const std::vector<std::string_view>& names) {
  std::string joined;
  for (const std::string_view name : names) {
    if (!joined.empty()) joined += ", ";
    joined += name;
  }
  return joined;
}

}  // namespace

#define TPB_FUNCTION(result, name, parameters) Look(library, #name, functions.name);

Functions LoadFunctions(void* library) {
  Functions functions;
#include "triton_c_api/backend_functions.inc"
  return functions;
}

ServerFunctions LoadServerFunctions(void* library) {
  ServerFunctions functions;
#include "triton_c_api/server_functions.inc"
  return functions;
}

#undef TPB_FUNCTION
#define TPB_FUNCTION(result, name, parameters) Note(missing, #name, functions.name != nullptr);

std::vector<std::string_view> MissingNames(const Functions& functions) {
  std::vector<std::string_view> missing;
#include "triton_c_api/backend_functions.inc"
  return missing;
}

std::vector<std::string_view> MissingNames(const ServerFunctions& functions) {
  std::vector<std::string_view> missing;
#include "triton_c_api/server_functions.inc"
  return missing;
}

#undef TPB_FUNCTION

const Functions& Resolve(const void* return_address) { return Table(return_address); }

const Functions& Api() { return Table(nullptr); }

std::string ResolveError(const void* return_address) {
  const Functions& table = Table(return_address);
  if (table.TRITONSERVER_ApiVersion == nullptr) {
    return "no libtritonserver found: neither the caller (" + PathOfObjectAt(return_address) +
           ") nor a single other loaded library exports " + kMark;
  }

  const void* ours = reinterpret_cast<const void*>(table.TRITONSERVER_ApiVersion);
  const void* callers = SymbolNear(return_address, kMark);
  if (callers != nullptr && BaseOfObjectAt(callers) != BaseOfObjectAt(ours)) {
    return "this backend library already serves the libtritonserver at " + PathOfObjectAt(ours) +
           "; the one at " + PathOfObjectAt(callers) +
           " needs a copy of the backend library in a file of its own";
  }

  const std::vector<std::string_view> missing = MissingNames(table);
  if (missing.empty()) return {};
  return "libtritonserver at " + PathOfObjectAt(ours) + " lacks " + Join(missing);
}

TRITONSERVER_Error* CheckCaller(const void* return_address) {
  const std::string error = ResolveError(return_address);
  if (error.empty()) return nullptr;

  auto error_new = Table(return_address).TRITONSERVER_ErrorNew;
  if (void* callers = SymbolNear(return_address, "TRITONSERVER_ErrorNew")) {
    error_new = reinterpret_cast<decltype(error_new)>(callers);
  }
  if (error_new == nullptr) {
    std::fprintf(stderr, "%s\n", error.c_str());
    std::abort();
  }
  return error_new(TRITONSERVER_ERROR_UNSUPPORTED, error.c_str());
}

}  // namespace tpb::triton
