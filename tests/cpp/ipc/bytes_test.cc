// The encoding of BYTES tensors: what is right, what is wrong with the rest, and memory that changes
// meanwhile.
#include "ipc/bytes.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ipc/dtype.h"
#include "tests/cpp/check.h"
#include "tests/cpp/process.h"

namespace tpb {
namespace {

std::string Element(std::string_view text) {
  const auto length = static_cast<std::uint32_t>(text.size());
  std::string encoded(sizeof length, '\0');
  std::memcpy(encoded.data(), &length, sizeof length);
  return encoded.append(text);
}

std::string Fault(const std::string& encoded, std::uint64_t count) {
  return ipc::FaultOfBytes(std::as_bytes(std::span(encoded)), count, "inference input 'IN'");
}

bool IsWhole(std::span<const std::byte> encoded) {
  ipc::BytesReader reader(encoded);
  while (reader.left() > 0) {
    const auto length = reader.NextLength();
    if (!length || *length > reader.left()) {
      return false;
    }
    reader.Take(*length);
  }
  return true;
}

TEST(Bytes, AreRightWithAsManyElementsAsExpected) {
  CHECK_EQ(Fault("", 0), "");
  CHECK_EQ(Fault(Element("a") + Element("") + Element(std::string_view("\0b", 2)), 3), "");
  CHECK_EQ(Fault(Element(std::string(100000, 'x')), 1), "");
}

TEST(Bytes, SayWhatIsWrongAsClientsKnowIt) {
  const std::string two = Element("ab") + Element("cd");
  CHECK_EQ(Fault(two, 1), "unexpected number of string elements 2 for inference input 'IN', expecting 1");
  CHECK_EQ(Fault(two, 3), "expected 3 strings for inference input 'IN', got 2");
  CHECK_EQ(Fault("", 1), "expected 1 strings for inference input 'IN', got 0");
  CHECK_EQ(Fault(two, 0), "unexpected number of string elements 1 for inference input 'IN', expecting 0");
  CHECK_EQ(Fault(two.substr(0, 11), 2),
           "incomplete string data for inference input 'IN', expecting string of length 2 but only 1 bytes "
           "available");
  CHECK_EQ(
      Fault(std::string("\xff\xff\xff\xff", 4), 1),
      "incomplete string data for inference input 'IN', expecting string of length 4294967295 but only 0 "
      "bytes available");
  CHECK_EQ(Fault(two.substr(0, 9), 2),
           "incomplete string length indicator for inference input 'IN', expecting 4 bytes but only 3 bytes "
           "available");
}

TEST(Bytes, EveryCutAndEveryExtraByteIsAFault) {
  const std::string whole = Element("ab") + Element("") + Element("cde");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(!Fault(whole.substr(0, size), 3).empty());
  }
  for (std::size_t more = 1; more < 6; ++more) {
    CHECK(!Fault(whole + std::string(more, '\0'), 3).empty());
  }
}

TEST(Bytes, AreReadInsideTheirMemoryWhoeverChangesThem) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const mapped = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(mapped != MAP_FAILED);
  auto* const start = static_cast<std::byte*>(mapped);
  CHECK_EQ(::mprotect(start + page, page, PROT_NONE), 0);  // one byte too many ends the test
  const std::span<std::byte> encoded(start + page - 16, 16);
  // Two elements, of no bytes and of eight. The first length changes all the time.
  const auto write = [&](std::uint32_t at, std::uint32_t length) {
    *reinterpret_cast<volatile std::uint32_t*>(&encoded[at]) = length;
  };
  write(4, 8);
  const testing::Child child([&] {
    while (true) {
      write(0, 0);
      write(0, 0x7fffffff);
    }
  });

  int whole = 0;
  int cut = 0;
  for (int i = 0; i < 20'000'000 || whole == 0 || cut == 0; ++i) {
    ++(IsWhole(encoded) ? whole : cut);
  }

  ::munmap(mapped, 2 * page);
}

TEST(DataTypes, CountElementsAndBytesOfAShape) {
  using ipc::DataType;
  const std::vector<std::int64_t> shape{2, 3};
  CHECK_EQ(*ipc::ElementCount(shape), 6U);
  CHECK_EQ(*ipc::ElementCount({}), 1U);
  CHECK_EQ(*ipc::ByteSize(DataType::kFp32, shape), 24U);
  CHECK_EQ(*ipc::ByteSize(DataType::kBytes, shape), 0U);
}

TEST(DataTypes, RefuseShapesThatNothingCanHave) {
  using ipc::DataType;
  const std::vector<std::int64_t> negative{2, -1};
  const std::vector<std::int64_t> huge{std::int64_t{1} << 32, std::int64_t{1} << 32};
  const std::vector<std::int64_t> huge_in_bytes{std::int64_t{1} << 61};
  CHECK(!ipc::ElementCount(negative));
  CHECK(!ipc::ByteSize(DataType::kBytes, negative));
  CHECK(!ipc::ElementCount(huge));
  CHECK(ipc::ElementCount(huge_in_bytes).has_value());
  CHECK(!ipc::ByteSize(DataType::kFp64, huge_in_bytes));
}

}  // namespace
}  // namespace tpb
