// pb_utils.InferenceRequest: one request of a client, or one that a model makes.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ipc/messages.h"
#include "stub/parameters.h"
#include "stub/tensor.h"

namespace tpb::stub {

using CorrelationId = std::variant<std::uint64_t, std::string>;

// What a model passes to the constructor.
struct RequestOptions {
  std::string request_id;
  CorrelationId correlation_id;
  std::vector<std::shared_ptr<Tensor>> inputs;
  std::vector<std::string> requested_output_names;
  std::string model_name;
  std::int64_t model_version = -1;
  std::uint32_t flags = 0;
  std::uint64_t timeout_us = 0;
  Parameters parameters;
};

// Used and destroyed with the GIL held.
class InferenceRequest {
 public:
  explicit InferenceRequest(RequestOptions options);

  // From the server; `inputs` are its tensors, in the order of the message.
  InferenceRequest(const ipc::Request& wire, std::vector<std::shared_ptr<Tensor>> inputs);

  [[nodiscard]] const std::string& request_id() const noexcept { return request_id_; }
  [[nodiscard]] const CorrelationId& correlation_id() const noexcept { return correlation_id_; }
  [[nodiscard]] std::uint32_t flags() const noexcept { return flags_; }
  void set_flags(std::uint32_t flags) noexcept { flags_ = flags; }
  [[nodiscard]] std::uint64_t timeout() const noexcept { return timeout_us_; }

  // A new list of the same objects each time.
  pybind11::list Inputs();
  [[nodiscard]] std::string ParametersJson() const;
  [[nodiscard]] std::set<std::string> RequestedOutputNames() const;
  [[nodiscard]] bool Requests(std::string_view output) const noexcept;
  [[nodiscard]] const std::string& model_name() const noexcept { return model_name_; }
  [[nodiscard]] const std::vector<std::shared_ptr<Tensor>>& inputs() const noexcept { return inputs_; }

  // As a call to another model, but for the inputs; views into this object.
  [[nodiscard]] ipc::Call ToCall() const;

 private:
  std::string request_id_;
  CorrelationId correlation_id_;
  std::vector<std::shared_ptr<Tensor>> inputs_;
  pybind11::object input_list_;  // of `inputs_`, once somebody asked
  std::vector<std::string> requested_output_names_;
  std::string model_name_;
  std::int64_t model_version_ = -1;
  std::uint32_t flags_ = 0;
  std::uint64_t timeout_us_ = 0;
  Parameters parameters_;
  bool from_server_ = false;
};

}  // namespace tpb::stub
