// Notices that this process is a forked child. A child has its parent's objects but owns none of what they
// stand for: whoever would give something back asks first, before any lock, since a lock may have been held
// while forking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace tpb::stub {

// Remembers the process in which it was made.
class Birthplace {
 public:
  Birthplace();

  // True in every process forked, directly or not, from the one where this was made.
  [[nodiscard]] bool InForkedChild() const noexcept;

 private:
  std::uint64_t generation_;
};

// What `owner` shares never ends: for what a forked child must not take apart. Allocates nothing, so it
// cannot fail.
template <typename T>
void Leak(const std::shared_ptr<T>& owner) noexcept {
  alignas(std::shared_ptr<T>) std::byte forgotten[sizeof(std::shared_ptr<T>)];
  new (forgotten) std::shared_ptr<T>(owner);
}

}  // namespace tpb::stub
