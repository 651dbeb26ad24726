// What the two entry points of the probe report. Both take a pointer to their report.
#pragma once

#include <string>

#include "triton_c_api/functions.h"

struct ResolveReport {
  const tpb::triton::Functions* resolved = nullptr;
  const tpb::triton::Functions* api = nullptr;
  std::string error;
};

struct CheckReport {
  TRITONSERVER_Error* error = nullptr;
};
