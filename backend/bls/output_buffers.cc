#include "backend/bls/output_buffers.h"

#include <utility>

#include "backend/triton_error.h"

namespace tpb::backend::bls {
namespace {

// NOLINTNEXTLINE(readability-function-size): the C API's parameters
TRITONSERVER_Error* Allocate(TRITONSERVER_ResponseAllocator* /*allocator*/, const char* /*tensor_name*/,
                             std::size_t byte_size, TRITONSERVER_MemoryType /*preferred_memory_type*/,
                             std::int64_t /*preferred_memory_type_id*/, void* userp, void** buffer,
                             void** buffer_userp, TRITONSERVER_MemoryType* actual_memory_type,
                             std::int64_t* actual_memory_type_id) noexcept {
  *actual_memory_type = TRITONSERVER_MEMORY_CPU;
  *actual_memory_type_id = 0;
  *buffer = nullptr;
  *buffer_userp = nullptr;
  return Guard([&] {
    if (byte_size != 0) {
      *buffer = static_cast<OutputBuffers*>(userp)->Allocate(byte_size);
    }
  });
}

TRITONSERVER_Error* Query(TRITONSERVER_ResponseAllocator* /*allocator*/, void* /*userp*/,
                          const char* /*tensor_name*/, std::size_t* /*byte_size*/,
                          TRITONSERVER_MemoryType* memory_type, std::int64_t* memory_type_id) noexcept {
  *memory_type = TRITONSERVER_MEMORY_CPU;
  *memory_type_id = 0;
  return nullptr;
}

// The blocks belong to the call, which is told when its response is complete.
TRITONSERVER_Error* Release(TRITONSERVER_ResponseAllocator* /*allocator*/, void* /*buffer*/,
                            void* /*buffer_userp*/, std::size_t /*byte_size*/,
                            TRITONSERVER_MemoryType /*memory_type*/,
                            std::int64_t /*memory_type_id*/) noexcept {
  return nullptr;
}

}  // namespace

void* OutputBuffers::Allocate(std::size_t size) {
  const std::scoped_lock lock(mutex_);
  try {
    ipc::Block block = arena_.Allocate(size);
    void* const data = block.data();
    blocks_.emplace(data, std::move(block));
    return data;
  } catch (const ipc::ArenaFull&) {
    ran_out_ = true;
    throw;
  }
}

bool OutputBuffers::ran_out() noexcept {
  const std::scoped_lock lock(mutex_);
  return ran_out_;
}

ipc::Block OutputBuffers::Take(const void* base) {
  const std::scoped_lock lock(mutex_);
  const auto found = blocks_.extract(base);
  return found.empty() ? ipc::Block() : std::move(found.mapped());
}

void OutputBuffers::Clear() noexcept {
  const std::scoped_lock lock(mutex_);
  blocks_.clear();
}

TRITONSERVER_ResponseAllocator* OutputBuffers::NewAllocator() {
  const auto& api = triton::Api();
  TRITONSERVER_ResponseAllocator* allocator = nullptr;
  Check(api.TRITONSERVER_ResponseAllocatorNew(&allocator, bls::Allocate, bls::Release, nullptr));
  LogFailure(api.TRITONSERVER_ResponseAllocatorSetQueryFunction(allocator, bls::Query),
             "Unable to set the query function of an allocator");
  return allocator;
}

}  // namespace tpb::backend::bls
