// Records, strings and arrays as bytes. The reader checks every length against what is left; all it gives out
// are copies or views into the buffer that it was given, which must be private memory: never parse shared
// memory in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ipc/error.h"

namespace tpb::ipc {

class Writer {
 public:
  template <typename Record>
  void Put(const Record& record) {
    static_assert(std::is_trivially_copyable_v<Record> && sizeof(Record) % 8 == 0);
    Append(&record, sizeof(record));
  }
  void PutString(std::string_view text);
  void PutNumbers(std::span<const std::int64_t> numbers);
  // What another writer has written.
  void PutEncoded(std::span<const std::byte> bytes) { Append(bytes.data(), bytes.size()); }

  void Clear() noexcept { buffer_.clear(); }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return buffer_; }

 private:
  void Append(const void* data, std::size_t size);

  std::vector<std::byte> buffer_;
};

class Reader {
 public:
  // `bytes` must be aligned to 8 (as the start of any std::vector is) and outlive the views that come out.
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}

  template <typename Record>
  Record Get() {
    static_assert(std::is_trivially_copyable_v<Record> && sizeof(Record) % 8 == 0);
    Record record;
    std::memcpy(&record, Take(sizeof(Record)).data(), sizeof(Record));
    return record;
  }
  std::string_view GetString();
  std::span<const std::int64_t> GetNumbers(std::uint64_t max_count);

  // Throws unless everything has been read.
  void ExpectEnd() const;

 private:
  std::span<const std::byte> Take(std::uint64_t size);

  std::span<const std::byte> left_;
};

}  // namespace tpb::ipc
