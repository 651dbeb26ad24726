// What the rest of the stub has to know of the model and instance that it serves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tpb::stub {

struct ModelFacts {
  std::string instance_name;
  std::uint32_t max_batch_size = 0;
  bool decoupled = false;                  // any number of responses to a request
  bool may_replay = false;                 // the server may give a batch to the next process
  std::uint32_t execute_timeout_ms = 0;    // 0: none
  std::vector<std::string> state_outputs;  // go to the server whether a client asks for them or not
};

}  // namespace tpb::stub
