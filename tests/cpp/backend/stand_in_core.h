// A stand-in for Triton's core in the test's own process: just enough of the C API for gather, respond and
// batch, with buffers where a CPU-only server never puts them. What works with the real server is tested with
// the real server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "triton_c_api/types.h"

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};

struct TRITONBACKEND_Input {
  std::string name;
  TRITONSERVER_DataType dtype = TRITONSERVER_TYPE_FP32;
  std::vector<std::int64_t> shape;
  std::vector<std::string> buffers;
  TRITONSERVER_MemoryType memory_type = TRITONSERVER_MEMORY_CPU;
  std::uint64_t claimed_size = 0;
};

// What was answered to a request.
struct Sent {
  int responses = 0;
  int finals = 0;  // how often core was told that nothing more comes
  bool failed = false;
  TRITONSERVER_Error_Code code = TRITONSERVER_ERROR_UNKNOWN;
  std::string message;
  std::vector<std::string> outputs;  // payloads
};

struct TRITONBACKEND_Request {
  std::string id;
  std::vector<TRITONBACKEND_Input> inputs;
  TRITONSERVER_MemoryType output_memory_type = TRITONSERVER_MEMORY_CPU;  // of the buffers that core offers
  Sent sent;
  bool released = false;
  bool rescheduled = false;
  bool reported = false;
  bool success = false;
};

struct TRITONBACKEND_Output {
  TRITONBACKEND_Response* response;
  std::size_t index;
};

struct TRITONBACKEND_Response {
  TRITONBACKEND_Request* request;
  std::vector<std::string> outputs;
  std::vector<TRITONBACKEND_Output> handles;
};

// The log: what it takes, and what it took, as "<level> <file>:<line> <text>".
struct StandInLog {
  std::uint32_t enabled = 0;  // bit n: level n
  std::vector<std::string> lines;
};
StandInLog& LogOfStandIn();

// Makes tpb::triton::Api() the functions of stand_in_core.cc.
void UseStandInCore();

// A request with one FP32 input of one dimension, in one buffer.
TRITONBACKEND_Request MakeRequest(const std::string& input_name, const std::string& payload);

// The same with a BYTES input of `count` elements, whatever `payload` is.
TRITONBACKEND_Request MakeBytesRequest(const std::string& payload, std::int64_t count);

// One element of a BYTES tensor.
std::string BytesElement(const std::string& text);
