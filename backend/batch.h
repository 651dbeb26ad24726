// The requests of one Execute call, from the moment we own them: each is answered exactly once and released,
// whatever happens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/late_releases.h"
#include "backend/responder.h"
#include "ipc/error.h"
#include "triton_c_api/types.h"

namespace tpb::backend {

std::uint64_t NowNs() noexcept;

class Batch {
 public:
  struct Item {
    TRITONBACKEND_Request* request;
    bool answered = false;
    bool succeeded = false;  // for the statistics: an error that the model itself returned counts as success
    bool left_out = false;   // of the exchange at hand
    bool open = false;       // a response sender goes on answering it when the batch is over
    bool rescheduled = false;                        // core is to give it to the model again
    std::shared_ptr<Responder> responder = nullptr;  // once a response sender was used; shared with who does
  };

  // The moments that core wants to know, CLOCK_MONOTONIC nanoseconds.
  struct Times {
    std::uint64_t start = 0;
    std::uint64_t compute_start = 0;
    std::uint64_t compute_end = 0;
    std::uint64_t end = 0;
  };

  Batch(TRITONBACKEND_ModelInstance* instance, std::span<TRITONBACKEND_Request* const> requests);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  Batch(Batch&&) = delete;
  Batch& operator=(Batch&&) = delete;

  // Answers what is left with an error, reports statistics, releases every request.
  ~Batch();

  // Its requests may be the last of a model that leaves.
  void ReleaseThrough(LateReleases& late) noexcept { late_ = &late; }

  [[nodiscard]] std::vector<Item>& items() noexcept { return items_; }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] Times& times() noexcept { return times_; }

  // A stub has died over it, and the next one is to execute it once more; not twice.
  [[nodiscard]] bool replayed() const noexcept { return replayed_; }
  void SetReplayed() noexcept { replayed_ = true; }

  // Sends an error response; does nothing for a request that has its answer.
  void Fail(Item& item, ipc::Code code, const std::string& message) noexcept;

  // Fails whatever has no answer yet.
  void FailRest(ipc::Code code, const std::string& message) noexcept;

  // The stub answered `size` inferences of it. However often: the batch counts as one execution.
  void CountExecution(std::uint64_t size) noexcept { executed_ += size; }

 private:
  void Report() noexcept;
  void Release(Item& item) noexcept;

  TRITONBACKEND_ModelInstance* const instance_;
  std::vector<Item> items_;
  Times times_;
  std::uint64_t executed_ = 0;
  bool replayed_ = false;
  LateReleases* late_ = nullptr;
};

}  // namespace tpb::backend
