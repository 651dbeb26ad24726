// The libtritonserver under measurement: opened from a file, every function that the generator calls found.
#pragma once

#include <stdexcept>
#include <string>

#include "triton_c_api/functions.h"

namespace tpb::bench {

// What a server answered instead of success, with its code in words ("Unsupported").
class ServerError : public std::runtime_error {
 public:
  ServerError(std::string code, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)) {}

  [[nodiscard]] const std::string& code() const noexcept { return code_; }

 private:
  std::string code_;
};

struct Api : triton::Functions, triton::ServerFunctions {
  // The library stays open until the process ends: threads of core may still run in it.
  static Api Open(const std::string& library);

  // Throws what a call returned, and deletes it; nothing for null.
  void Check(TRITONSERVER_Error* error) const;
};

}  // namespace tpb::bench
