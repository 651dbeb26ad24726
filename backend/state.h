// Implicit state: outputs that core keeps between the requests of a sequence and gives to the model as inputs
// of the next one (`sequence_batching.state`).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backend/payloads.h"
#include "ipc/messages.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

class StateOutputs {
 public:
  StateOutputs() = default;  // a model without states
  explicit StateOutputs(const std::vector<std::string_view>& names) : names_(names.begin(), names.end()) {}

  [[nodiscard]] bool Has(const ipc::Tensor& output) const noexcept {
    return !names_.empty() && Contains(output.name);
  }

  // Makes `output` the state that the next request of this one's sequence starts with. Returns whether it is
  // to be an output of the response as well, because the request asks for it. Throws as Respond does.
  bool Update(TRITONBACKEND_Request* request, const ipc::Tensor& output, const Payloads& payloads,
              const std::string& instance_name) const;

 private:
  [[nodiscard]] bool Contains(std::string_view name) const noexcept;

  std::vector<std::string> names_;
};

}  // namespace tpb::backend
