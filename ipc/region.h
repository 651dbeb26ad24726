// A memfd and its mapping: the memory that one channel shares between two processes. It has no name, so
// nothing has to be cleaned up, and its size is sealed, so that nobody can make a read of it fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "ipc/unique_fd.h"

namespace tpb::ipc {

class Region {
 public:
  // A sparse file of `size` bytes (a multiple of the page size), sealed against growing and shrinking. Pages
  // from `read_only_from` on are mapped for reading only. `name` shows in /proc/<pid>/maps and nowhere else.
  static std::shared_ptr<Region> Create(const std::string& name, std::uint64_t size,
                                        std::uint64_t read_only_from);

  // Maps all of a file that a peer created, for reading and writing. Throws if its size is not `size` or not
  // sealed.
  static std::shared_ptr<Region> Attach(UniqueFd memfd, std::uint64_t size);

  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  Region(Region&&) = delete;
  Region& operator=(Region&&) = delete;
  ~Region();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] int fd() const noexcept { return memfd_.get(); }

  // Gives whole pages back to the kernel: both processes then read zeros there. 0, or the errno of a kernel
  // that cannot.
  [[nodiscard]] int PunchHole(std::uint64_t offset, std::uint64_t size) const noexcept;

  // The memory that the region takes at the moment, as the kernel counts.
  [[nodiscard]] std::uint64_t ResidentBytes() const noexcept;

 private:
  Region(UniqueFd memfd, std::byte* data, std::uint64_t size)
      : memfd_(std::move(memfd)), data_(data), size_(size) {}

  UniqueFd memfd_;
  std::byte* data_;
  std::uint64_t size_;
};

// The most that one region may be: `wanted`, or without a wish the memory that this process may use, at most
// 64 GiB (an empty region takes address space too, and a server may have hundreds); and no more than
// RLIMIT_FSIZE and half of RLIMIT_AS allow (exceeding the first would kill the process with SIGXFSZ).
std::uint64_t RegionSizeLimit(std::uint64_t wanted);

}  // namespace tpb::ipc
