// pb_utils.InferenceRequest: one request of a client, or one that a model makes.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "ipc/messages.h"
#include "stub/connection.h"
#include "stub/model_facts.h"
#include "stub/parameters.h"
#include "stub/tensor.h"

namespace tpb::stub {

class ResponseSender;

// TRITONSERVER_RequestReleaseFlag.
inline constexpr std::uint32_t kReleaseAll = 1;
inline constexpr std::uint32_t kReleaseReschedule = 2;

// pb_utils.InferenceTrace: which trace a request belongs to. A value.
struct InferenceTrace {
  std::string context;        // OpenTelemetry's, as JSON; empty for none
  std::uint64_t request = 0;  // response_id of the request of the server that it came with
};

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
  InferenceTrace trace;
  Parameters parameters;
  std::uint64_t priority = 0;
};

// Used and destroyed with the GIL held.
class InferenceRequest {
 public:
  explicit InferenceRequest(RequestOptions options);

  // From the server over `connection`; `inputs` are its tensors, in the order of the message.
  InferenceRequest(const ipc::Request& wire, std::vector<std::shared_ptr<Tensor>> inputs,
                   std::shared_ptr<Connection> connection, std::shared_ptr<const ModelFacts> facts);

  [[nodiscard]] const std::string& request_id() const noexcept { return request_id_; }
  [[nodiscard]] const CorrelationId& correlation_id() const noexcept { return correlation_id_; }
  [[nodiscard]] std::uint32_t flags() const noexcept { return flags_; }
  void set_flags(std::uint32_t flags) noexcept { flags_ = flags; }
  [[nodiscard]] std::uint64_t timeout() const noexcept { return timeout_us_; }

  // A new list of the same objects each time.
  pybind11::list Inputs();
  [[nodiscard]] std::string ParametersJson() const;
  [[nodiscard]] std::set<std::string> RequestedOutputNames() const;
  [[nodiscard]] const std::vector<std::string>& requested_output_names() const noexcept {
    return requested_output_names_;
  }
  [[nodiscard]] const std::string& model_name() const noexcept { return model_name_; }
  [[nodiscard]] const std::vector<std::shared_ptr<Tensor>>& inputs() const noexcept { return inputs_; }

  // The same object each time.
  const std::shared_ptr<ResponseSender>& Sender();
  // Null before the first of those calls.
  [[nodiscard]] const std::shared_ptr<ResponseSender>& sender() const noexcept { return sender_; }
  bool IsCancelled();

  // TRITONSERVER_RequestReleaseFlag: what core is to do with the request when execute has returned.
  void set_release_flags(std::uint32_t flags) noexcept { release_flags_ = flags; }
  [[nodiscard]] bool reschedules() const noexcept { return (release_flags_ & kReleaseReschedule) != 0; }

  [[nodiscard]] const InferenceTrace& trace() const noexcept { return trace_; }

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
  std::uint64_t priority_ = 0;
  InferenceTrace trace_;
  std::uint32_t release_flags_ = kReleaseAll;

  // Of a request from the server.
  [[nodiscard]] bool from_server() const noexcept { return connection_ != nullptr; }
  std::shared_ptr<Connection> connection_;
  std::uint64_t response_id_ = 0;
  std::shared_ptr<const ModelFacts> facts_;
  std::shared_ptr<ResponseSender> sender_;  // shared with the model
};

}  // namespace tpb::stub
