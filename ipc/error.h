// The shared vocabulary of failure: what both processes throw, and what travels between them.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

namespace tpb::ipc {

// The codes of TRITONSERVER_Error_Code, in its order, so that a code crosses every border unchanged.
enum class Code : std::uint32_t {
  kUnknown = 0,
  kInternal = 1,
  kNotFound = 2,
  kInvalidArg = 3,
  kUnavailable = 4,
  kUnsupported = 5,
  kAlreadyExists = 6,
  kCancelled = 7,
};

// Turns a number that came over the wire into a code; one that is none of ours becomes kInternal.
Code CodeFromWire(std::uint32_t value) noexcept;

class Error : public std::exception {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] Code code() const noexcept { return code_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

 private:
  Code code_;
  std::string message_;
};

// The peer broke the protocol: an impossible index, a length beyond its message. The attachment ends.
class ProtocolError : public Error {
 public:
  explicit ProtocolError(std::string message) : Error(Code::kInternal, std::move(message)) {}
};

// `what` failed with `error_number`: "<what>: <strerror>".
[[noreturn]] void ThrowErrno(const std::string& what, int error_number);

}  // namespace tpb::ipc
