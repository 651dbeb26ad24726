// Where core puts the outputs of a call: blocks of the caller's own arena, so that nothing is copied on the
// way to it.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>

#include "ipc/arena.h"
#include "triton_c_api/types.h"

namespace tpb::backend::bls {

// One call's. Used by whichever threads core makes responses on.
class OutputBuffers {
 public:
  explicit OutputBuffers(ipc::Arena& arena) : arena_(arena) {}

  // Throws ipc::Error when the arena is full.
  void* Allocate(std::size_t size);

  // That has happened.
  [[nodiscard]] bool ran_out() noexcept;

  // The block that starts at `base`, which is the caller's from here on; an invalid one if there is none.
  ipc::Block Take(const void* base);

  // Gives back every block that was not taken: core writes to none of them any more.
  void Clear() noexcept;

  // An allocator for requests whose allocator user pointer is an OutputBuffers.
  static TRITONSERVER_ResponseAllocator* NewAllocator();

 private:
  ipc::Arena& arena_;
  std::mutex mutex_;
  std::map<const void*, ipc::Block> blocks_;
  bool ran_out_ = false;
};

}  // namespace tpb::backend::bls
