#include "benchmarks/generator/arguments.h"

#include <charconv>
#include <functional>
#include <map>
#include <stdexcept>
#include <string_view>

namespace tpb::bench {
namespace {

template <typename T>
T Number(const std::string& text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < T{}) {
    throw std::invalid_argument("expected a number that is not negative");
  }
  return number;
}

std::chrono::duration<double> Seconds(const std::string& text) {
  return std::chrono::duration<double>(Number<double>(text));
}

template <typename T>
T OneOf(const std::map<std::string, T>& choices, const std::string& text) {
  const auto found = choices.find(text);
  if (found == choices.end()) {
    std::string names;
    for (const auto& [name, value] : choices) {
      names += names.empty() ? name : ", " + name;
    }
    throw std::invalid_argument("expected one of " + names);
  }
  return found->second;
}

BackendSetting ParseSetting(const std::string& text) {
  const auto comma = text.find(',');
  const auto equals = text.find('=', comma);
  if (comma == std::string::npos || equals == std::string::npos) {
    throw std::invalid_argument("expected BACKEND,KEY=VALUE");
  }
  return {.backend = text.substr(0, comma),
          .key = text.substr(comma + 1, equals - comma - 1),
          .value = text.substr(equals + 1)};
}

using Setter = std::function<void(Arguments&, const std::string&)>;

std::map<std::string, Setter, std::less<>> Setters() {
  const std::map<std::string, bool> yes_no{{"yes", true}, {"no", false}};
  const std::map<std::string, PayloadKind> payloads{{"identity", PayloadKind::kIdentity},
                                                    {"add_sub", PayloadKind::kAddSub},
                                                    {"strings", PayloadKind::kStrings}};
  const std::map<std::string, LogLevel> levels{
      {"error", LogLevel::kError}, {"info", LogLevel::kInfo}, {"verbose", LogLevel::kVerbose}};
  return {
      {"server-library", [](auto& to, auto& text) { to.server_library = text; }},
      {"model-repository", [](auto& to, auto& text) { to.server.repository = text; }},
      {"backend-directory", [](auto& to, auto& text) { to.server.backend_directory = text; }},
      {"backend-config",
       [](auto& to, auto& text) { to.server.backend_settings.push_back(ParseSetting(text)); }},
      {"auto-complete-config",
       [yes_no](auto& to, auto& text) { to.server.auto_complete = OneOf(yes_no, text); }},
      {"log", [levels](auto& to, auto& text) { to.server.log_level = OneOf(levels, text); }},
      {"model", [](auto& to, auto& text) { to.model = text; }},
      {"payload", [payloads](auto& to, auto& text) { to.payload = OneOf(payloads, text); }},
      {"size", [](auto& to, auto& text) { to.size = Number<std::size_t>(text); }},
      {"clients", [](auto& to, auto& text) { to.clients = Number<std::size_t>(text); }},
      {"warm-up-requests", [](auto& to, auto& text) { to.warm_up.requests = Number<std::uint64_t>(text); }},
      {"warm-up-seconds", [](auto& to, auto& text) { to.warm_up.time = Seconds(text); }},
      {"requests", [](auto& to, auto& text) { to.window.requests = Number<std::uint64_t>(text); }},
      {"seconds", [](auto& to, auto& text) { to.window.time = Seconds(text); }},
      {"whole-every", [](auto& to, auto& text) { to.whole_every = Number<std::uint64_t>(text); }},
      {"loads", [](auto& to, auto& text) { to.loads = Number<std::uint64_t>(text); }},
  };
}

void Require(bool given, const char* what) {
  if (!given) {
    throw std::invalid_argument(std::string(what) + " is needed");
  }
}

}  // namespace

Arguments ParseArguments(std::span<const char* const> words) {
  const auto setters = Setters();
  Arguments arguments;
  for (const std::string word : words) {
    const auto equals = word.find('=');
    const auto setter = word.starts_with("--") ? setters.find(word.substr(2, equals - 2)) : setters.end();
    if (setter == setters.end() || equals == std::string::npos) {
      throw std::invalid_argument("'" + word + "' is no --name=value that the generator knows");
    }
    try {
      setter->second(arguments, word.substr(equals + 1));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(word + ": " + error.what());
    }
  }
  Require(!arguments.server_library.empty(), "--server-library");
  Require(!arguments.server.repository.empty(), "--model-repository");
  Require(!arguments.server.backend_directory.empty(), "--backend-directory");
  Require(!arguments.model.empty(), "--model");
  Require(arguments.clients > 0, "--clients above 0");
  Require(arguments.whole_every > 0, "--whole-every above 0");
  return arguments;
}

}  // namespace tpb::bench
