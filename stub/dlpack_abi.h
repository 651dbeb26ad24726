// The memory layout of DLPack (https://dmlc.github.io/dlpack), as far as arrays in CPU memory need it. What
// travels is a capsule with a pointer to a Managed, under one name until somebody consumes it and another one
// afterwards.
#pragma once

#include <cstdint>
#include <type_traits>

namespace tpb::stub::dlpack {

inline constexpr char kFresh[] = "dltensor";
inline constexpr char kUsed[] = "used_dltensor";
// The same since DLPack 1.0, with a pointer to a ManagedVersioned.
inline constexpr char kFreshVersioned[] = "dltensor_versioned";
inline constexpr char kUsedVersioned[] = "used_dltensor_versioned";

enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3 };

enum TypeCode : std::uint8_t { kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Device {
  std::int32_t type;
  std::int32_t id;
};

struct ElementType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;  // elements of a vector type; 1 for the others
};

struct Array {
  void* data;
  Device device;
  std::int32_t dim_count;
  ElementType type;
  std::int64_t* shape;
  std::int64_t* strides;      // in elements; null: C order without gaps
  std::uint64_t byte_offset;  // from `data` to the first element
};

struct Managed {
  Array array;
  void* context;              // the producer's
  void (*deleter)(Managed*);  // called by the consumer when it is done; may be null
};

struct Version {
  std::uint32_t major;  // another one is another layout
  std::uint32_t minor;
};

inline constexpr std::uint32_t kMajor = 1;
inline constexpr std::uint64_t kReadOnly = 1;

struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Array array;
};

static_assert(sizeof(Device) == 8 && sizeof(ElementType) == 4);
static_assert(sizeof(Array) == 48 && std::is_trivial_v<Array>);
static_assert(sizeof(Managed) == 64 && std::is_trivial_v<Managed>);
static_assert(sizeof(ManagedVersioned) == 80 && std::is_trivial_v<ManagedVersioned>);

}  // namespace tpb::stub::dlpack
