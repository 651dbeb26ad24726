// Everything that two processes read and write in common: one page, fixed-width, pinned. docs/protocol.md
// tells who writes what and when; a change here is a change there, and of kWireVersion.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace tpb::ipc {

inline constexpr std::uint32_t kWireVersion = 4;

// Payloads of tensors, and blocks in general, start at multiples of this.
inline constexpr std::uint64_t kAlignment = 64;

// Caps on what one message may claim. Far above any use, low enough that a lie costs nothing.
inline constexpr std::uint64_t kMaxMessageBytes = std::uint64_t{256} << 20;
inline constexpr std::uint32_t kMaxDims = 256;
inline constexpr std::uint32_t kMaxCount = 1U << 20;

// --- Rings
// -----------------------------------------------------------------------------------------------------------

// One line per writer, so that the two processes do not fight over a cache line. Indices only grow and wrap;
// a slot is found at index modulo the ring's capacity.
struct alignas(64) RingProducerLine {
  std::atomic<std::uint32_t> tail;  // slots ever pushed
};
struct alignas(64) RingConsumerLine {
  std::atomic<std::uint32_t> head;      // slots ever given back
  std::atomic<std::uint32_t> waiting;   // 1 while the consumer sleeps or is about to
  std::atomic<std::uint32_t> doorbell;  // futex word; grows with each wake
};
struct RingControl {
  RingProducerLine producer;
  RingConsumerLine consumer;
};
static_assert(sizeof(RingControl) == 128 && std::is_standard_layout_v<RingControl>);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(std::atomic<std::uint32_t>) == 4);

enum class MessageKind : std::uint32_t {
  // work: server -> the stub's main thread
  kExecute = 1,
  kAutoComplete = 2,
  kInitialize = 3,
  kFinalize = 4,
  // replies: the stub's main thread -> the server thread that waits; `id` repeats the work message's
  kReply = 16,
  // events: any thread of the stub -> the server's service thread
  kRelease = 32,
  kCall = 33,
  kLog = 34,
  kGaveBack = 35,
  kRespond = 36,     // a response sender's; `id`: of the request
  kAbandon = 37,     // nobody can answer that request any more
  kWatch = 38,       // tell in cancellation word `offset` whether that request is cancelled
  kTaken = 39,       // the answer in the slot of call `id` was taken, and `more` was set
  kCancelCall = 40,  // give call `id` up
  kAsk = 48,
  kMetricUpdate = 49,
  kReadyAnswer = 50,
};

struct Slot {
  std::uint32_t kind;         // MessageKind
  std::uint32_t flags;        // kLast or 0
  std::uint64_t id;           // names the exchange or call; never reused in a channel. kRelease: the lease
  std::uint64_t offset;       // body: where it starts in the sender's arena ...
  std::uint64_t size;         // ... and its bytes; 0 = no body
  std::uint64_t sent_before;  // kReply: events pushed before it. kRelease: replies pushed before it
  std::uint64_t unused[3];    // 0
};
static_assert(sizeof(Slot) == 64 && std::is_trivially_copyable_v<Slot>);

// kRespond: the last response to its request. kCancelCall: nobody waits for the answers any more.
inline constexpr std::uint32_t kLast = 1;

// --- Control line and call slots
// --------------------------------------------------------------------------------------

// What the server lets the stub know without a message. Only the server writes it.
struct alignas(64) ControlLine {
  std::atomic<std::uint32_t> log_levels;  // bit n: the server logs messages of level n (LogLevel)
  std::atomic<std::uint32_t>
      ready_question;  // futex word; grows with each question whether the model is ready
};
static_assert(sizeof(ControlLine) == 64 && std::is_standard_layout_v<ControlLine>);

// What the stub takes of its arena. Only the stub writes it; to the server these are numbers to show, and
// nothing that it relies on.
struct alignas(64) MemoryLine {
  std::atomic<std::uint64_t> used;
  std::atomic<std::uint64_t> pool;
};
static_assert(sizeof(MemoryLine) == 64 && std::is_standard_layout_v<MemoryLine>);

// Where a thread of the stub that called another model waits for the answer. The stub chooses a free slot and
// names it in its call; from then until `answered` is 1 the slot is the server's. The stub takes the answer
// and, unless it is the last one, stores 0: then the slot is the server's again, for the next answer.
struct alignas(64) CallSlot {
  std::atomic<std::uint32_t> answered;  // futex word
  std::atomic<std::uint32_t> waiting;   // 1 while the caller sleeps or is about to
  std::uint64_t id;                     // repeats the call's
  std::uint64_t lease;                  // of the block that holds the body
  std::uint64_t offset;                 // the body, in the server's arena
  std::uint64_t size;
  std::uint32_t no_room;  // 1: the server's arena had no room for an answer, and there is no body ...
  std::atomic<std::uint32_t> more;  // 1: whoever takes this answer sends a kTaken, for the next
  std::uint64_t wanted;             // ... of this many bytes
};
static_assert(sizeof(CallSlot) == 64 && std::is_standard_layout_v<CallSlot>);
inline constexpr std::uint32_t kCallSlots = 1024;

// Rung with each answer to a call that nobody sleeps for in its slot.
struct alignas(64) CompletionLine {
  std::atomic<std::uint32_t> answers;  // futex word; grows
  std::atomic<std::uint32_t> waiting;  // 1 while the stub's thread for those sleeps or is about to
};
static_assert(sizeof(CompletionLine) == 64 && std::is_standard_layout_v<CompletionLine>);

// Bits 2 to 31 are the low bits of a request's id, bits 0 and 1 say what was said of it:
// 1 not cancelled, 2 cancelled. Only the server writes it.
using CancellationWord = std::atomic<std::uint32_t>;
inline constexpr std::uint32_t kCancellationWords = 4096;

// The numbers of TRITONSERVER_LogLevel.
enum class LogLevel : std::uint32_t { kInfo = 0, kWarning = 1, kError = 2, kVerbose = 3 };

// Of the body of a kLog; longer texts are cut where they are logged.
inline constexpr std::uint64_t kMaxLogBytes = std::uint64_t{128} << 10;

// --- Handshake (SOCK_SEQPACKET)
// --------------------------------------------------------------------------------------

inline constexpr std::uint64_t kHelloMagic = 0x314f4c4c45484254;  // "TBHELLO1", little-endian
inline constexpr char kFailureMagic[8] = {'T', 'P', 'B', 'F', 'A', 'I', 'L', '1'};  // then UTF-8 text

// Before the hello of a stub whose environment a launcher prepares: to it, with the configuration as a
// descriptor; and from it, each with UTF-8 text, an empty one being only a sign of life.
inline constexpr char kConfigMagic[8] = {'T', 'P', 'B', 'C', 'O', 'N', 'F', '1'};
inline constexpr char kStepMagic[8] = {'T', 'P', 'B', 'S', 'T', 'E', 'P', '1'};
inline constexpr char kWarningMagic[8] = {'T', 'P', 'B', 'W', 'A', 'R', 'N', '1'};
inline constexpr std::uint64_t kMaxStepBytes = 8192;

inline constexpr char kChildMagic[8] = {'T', 'P', 'B', 'C', 'H', 'I', 'L', 'D'};  // with one descriptor

// First message on the socket, sent by the stub before numpy and user code are imported.
struct StubHello {
  std::uint64_t magic;
  std::uint32_t wire_version;
  std::uint32_t pid;         // as the stub sees itself
  char package_version[32];  // NUL-terminated; must equal the server's
  char python_version[32];   // "3.11.7"
};
static_assert(sizeof(StubHello) == 80 && std::is_trivially_copyable_v<StubHello>);

struct Extent {
  std::uint64_t offset;  // in the region
  std::uint64_t size;    // bytes
};
struct RingExtent {
  std::uint64_t offset;    // of its RingControl; the slots follow it
  std::uint32_t capacity;  // slots, a power of two
  std::uint32_t reserved;  // 0
};

// How both sides deal with memory.
struct MemoryRules {
  std::uint64_t pool_bytes;             // of each arena: what it counts as taken from the start, and keeps
  std::uint64_t growth_bytes;           // the steps in which it takes more; above 0
  std::uint32_t release_after_seconds;  // of quiet: then free memory goes back to the kernel; 0 = never
  std::uint32_t keep_heap;              // 1: a spawned stub keeps freed heap memory until then
};
static_assert(sizeof(MemoryRules) == 24 && std::is_trivially_copyable_v<MemoryRules>);
inline constexpr MemoryRules kDefaultMemoryRules{.pool_bytes = std::uint64_t{1} << 20,
                                                 .growth_bytes = std::uint64_t{1} << 20,
                                                 .release_after_seconds = 10,
                                                 .keep_heap = 1};

// Where everything lies in a region, and how its memory is dealt with. Decided by the server, told once,
// never read from shared memory.
struct Layout {
  std::uint64_t region_size;
  Extent control;        // a ControlLine
  Extent memory;         // a MemoryLine
  Extent calls;          // CallSlots
  Extent completions;    // a CompletionLine
  Extent cancellations;  // cancellation words, 4 bytes each
  RingExtent work;
  RingExtent replies;
  RingExtent events;
  Extent server_arena;
  Extent stub_arena;
  MemoryRules memory_rules;
};
static_assert(sizeof(Layout) == 192 && std::is_trivially_copyable_v<Layout>);

// The answer, with three descriptors: the region's memfd, the eventfd that is the events ring's doorbell, and
// a pidfd of the server (or, where the kernel has none, the memfd again: then the socket's end-of-file alone
// tells).
struct ServerHello {
  std::uint64_t magic;
  std::uint32_t wire_version;
  std::uint32_t has_pidfd;
  char package_version[32];
  Layout layout;
};
static_assert(sizeof(ServerHello) == 240 && std::is_trivially_copyable_v<ServerHello>);
inline constexpr int kServerHelloDescriptors = 3;

// --- Message bodies
// -------------------------------------------------------------------------------------------------- A body
// is a sequence of the records below. A string or an array is its length (u64), its bytes and zeros up to the
// next multiple of 8, so that every record and every array of 64-bit numbers is aligned. See ipc/messages.h
// for the order of records in each body.

enum class Place : std::uint32_t {
  kServerArena = 0,  // a block leased to the stub: `lease` names it, `offset` counts from its start
  kStubArena = 1,    // `offset` counts from the start of the arena
};

struct LeaseRecord {
  std::uint64_t lease;   // names the block for as long as the stub holds it
  std::uint64_t offset;  // in the server's arena
  std::uint64_t size;
};
static_assert(sizeof(LeaseRecord) == 24 && std::is_trivially_copyable_v<LeaseRecord>);

struct TensorRecord {
  std::uint32_t dtype;        // DataType
  std::uint32_t memory_type;  // MemoryType
  std::int64_t device_id;
  std::uint32_t place;     // Place
  std::uint32_t reserved;  // 0
  std::uint64_t lease;
  std::uint64_t offset;
  std::uint64_t size;  // bytes of payload
};
static_assert(sizeof(TensorRecord) == 48 && std::is_trivially_copyable_v<TensorRecord>);

struct RequestRecord {
  std::uint64_t correlation_id;       // when it is a number
  std::uint64_t timeout_us;           // 0 = none
  std::uint64_t priority;             // kCall: 0 = the model's default
  std::uint64_t response_id;          // kExecute: what responses to this request are sent under
  std::uint32_t flags;                // TRITONSERVER_RequestFlag
  std::uint32_t correlation_is_text;  // 0 or 1
  std::uint32_t input_count;
  std::uint32_t requested_output_count;
  std::uint32_t parameter_count;
  std::uint32_t reserved;  // 0
};
static_assert(sizeof(RequestRecord) == 56 && std::is_trivially_copyable_v<RequestRecord>);

// The numbers of TRITONSERVER_ParameterType.
enum class ParameterType : std::uint32_t { kString = 0, kInt = 1, kBool = 2, kDouble = 3 };

struct ParameterRecord {
  std::uint32_t type;      // ParameterType
  std::uint32_t reserved;  // 0
  std::uint64_t bits;      // the number, as two's complement, 0/1, or IEEE 754; 0 for a string, which follows
};
static_assert(sizeof(ParameterRecord) == 16 && std::is_trivially_copyable_v<ParameterRecord>);

enum ReplyFlag : std::uint32_t {
  kReplyDecoupled = 1,      // the model's transaction policy
  kReplyHasReadyCheck = 2,  // the model defines is_ready()
  kReplyMayReplay = 4,      // a batch whose process dies may be executed once more
};

enum class ResponseKind : std::uint32_t {
  kNone = 0,     // in a reply: nothing beside what a response sender has sent. In an answer: a stream's end
  kTensors = 1,  // outputs follow
  kError = 2,    // code and text follow
  kOpen = 3,     // in a reply: a response sender may still send
  kReschedule = 4,  // in a reply: core is to give the request to the model again
};

struct ResponseRecord {
  std::uint32_t kind;  // ResponseKind
  std::uint32_t code;  // Code, for kError
  std::uint32_t output_count;
  std::uint32_t parameter_count;
};
static_assert(sizeof(ResponseRecord) == 16 && std::is_trivially_copyable_v<ResponseRecord>);

struct ReplyRecord {
  std::uint32_t failed;  // 1: the whole exchange failed, with `code` and the text that follows
  std::uint32_t code;
  std::uint32_t response_count;
  std::uint32_t kept_count;          // leases that outlive this exchange
  std::uint32_t max_batch_size;      // to kInitialize: of the model's configuration; else 0
  std::uint32_t flags;               // to kInitialize: ReplyFlag; else 0
  std::uint32_t state_count;         // to kInitialize: names of outputs that are states; else 0
  std::uint32_t execute_timeout_ms;  // to kInitialize: how long one execute may take; 0: for ever
};
static_assert(sizeof(ReplyRecord) == 32 && std::is_trivially_copyable_v<ReplyRecord>);

struct CallRecord {
  std::int64_t model_version;  // -1: the server chooses
  std::uint64_t parent;        // response_id of the request whose trace this belongs to; 0 = none
  std::uint32_t slot;          // where the caller waits
  std::uint32_t flags;         // CallFlag
};
static_assert(sizeof(CallRecord) == 24 && std::is_trivially_copyable_v<CallRecord>);

enum CallFlag : std::uint32_t {
  kCallDecoupled = 1,  // any number of responses
  kCallRings = 2,      // answers ring the CompletionLine
  kCallBlocks = 4,     // the thread that executes does nothing else until this is answered
};

struct CallAnswerRecord {
  std::uint32_t response_count;
  std::uint32_t last;  // 1: the last answer to its call, and the slot is the stub's
};
static_assert(sizeof(CallAnswerRecord) == 8 && std::is_trivially_copyable_v<CallAnswerRecord>);

struct LogRecord {
  std::uint32_t level;  // LogLevel
  std::uint32_t line;   // of the caller's file
};
static_assert(sizeof(LogRecord) == 8 && std::is_trivially_copyable_v<LogRecord>);

// --- Questions to the server, metrics and readiness

enum class AskKind : std::uint32_t {
  kNewFamily = 0,    // option: MetricKind; name, text: its help. Answered with the family's handle
  kNewMetric = 1,    // handle: the family; pairs: labels; numbers: buckets. Answered with the metric's handle
  kMetricValue = 2,  // handle: the metric. Answered with a double
  kLoadModel = 3,    // name; text: configuration or empty; pairs: files
  kUnloadModel = 4,  // name; option 1: with what depends on it
  kIsModelReady = 5  // name; text: version or empty. Answered with 0 or 1
};

// The numbers of TRITONSERVER_MetricKind.
enum class MetricKind : std::uint32_t { kCounter = 0, kGauge = 1, kHistogram = 2 };

// A handle names a family or a metric of this channel; never reused in it.
struct AskRecord {
  std::uint32_t kind;    // AskKind
  std::uint32_t slot;    // the call slot where the caller waits
  std::uint64_t handle;  // 0 where the kind has none, as the next
  std::uint32_t option;
  std::uint32_t pair_count;
};
static_assert(sizeof(AskRecord) == 24 && std::is_trivially_copyable_v<AskRecord>);

struct AskAnswerRecord {
  std::uint32_t failed;  // 1: refused, with `code` and the text that follows
  std::uint32_t code;
  std::uint64_t bits;  // the handle, the double or the truth value
};
static_assert(sizeof(AskAnswerRecord) == 16 && std::is_trivially_copyable_v<AskAnswerRecord>);

// A kMetricUpdate: `id` is the handle, unused[0] what to do and unused[1] the double.
enum class MetricUpdate : std::uint64_t {
  kIncrement = 0,
  kSet = 1,
  kObserve = 2,
  kDeleteMetric = 3,
  kDeleteFamily = 4,  // and its metrics
};

// A kReadyAnswer: `id` is the question, unused[0] the answer; a kFailed has a string as its body.
enum class Readiness : std::uint64_t { kNotReady = 0, kReady = 1, kFailed = 2 };

// Of that string; longer ones are cut where they are sent.
inline constexpr std::uint64_t kMaxReadyBytes = std::uint64_t{128} << 10;

}  // namespace tpb::ipc
