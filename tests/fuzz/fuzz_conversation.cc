// A stub that writes what it likes, against the server's end of a real channel: rings, slots, arenas and
// messages are the input's, in its order. The stub is condemned for some, and then its end is as in the
// server. Whatever it does, each request of a client gets its last response once, and nothing is left.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/batch.h"
#include "backend/bls/gateway.h"
#include "backend/control/model_control.h"
#include "backend/conversation.h"
#include "backend/gather.h"
#include "backend/respond.h"
#include "ipc/error.h"
#include "ipc/messages.h"
#include "tests/cpp/backend/bls/stand_in_models.h"
#include "tests/cpp/backend/stand_in_core.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/stand_in_rest.h"

namespace {

namespace ipc = tpb::ipc;
namespace backend = tpb::backend;
using tpb::fuzz::Area;
using tpb::fuzz::Input;
using tpb::fuzz::Step;

constexpr std::uint64_t kRegion = std::uint64_t{4} << 20;
constexpr std::uint32_t kEventSlots = 64;
constexpr int kMostEvents = 1024;            // at once, as the service thread takes them
constexpr std::uint64_t kBodies = 64 << 10;  // where in the stub's arena bodies lie; before that, payloads
constexpr char kInstance[] = "m_0";

void Require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

// The stub's own mapping: it may write anywhere.
class Hostile {
 public:
  explicit Hostile(ipc::ServerChannel& channel) : layout_(channel.layout()) {
    void* address =
        ::mmap(nullptr, layout_.region_size, PROT_READ | PROT_WRITE, MAP_SHARED, channel.memfd(), 0);
    Require(address != MAP_FAILED);
    data_ = static_cast<std::byte*>(address);
  }
  Hostile(const Hostile&) = delete;
  Hostile& operator=(const Hostile&) = delete;
  Hostile(Hostile&&) = delete;
  Hostile& operator=(Hostile&&) = delete;
  ~Hostile() { ::munmap(data_, layout_.region_size); }

  // A message as the stub itself would send it, from what the input says.
  void Send(Input& input, const ipc::RingExtent& ring, std::uint32_t& tail) {
    ipc::Slot slot{};
    slot.kind = input.Get<std::uint8_t>();
    slot.flags = input.Get<std::uint8_t>();
    slot.id = input.Get<std::uint8_t>();
    slot.sent_before = input.Get<std::uint8_t>();
    slot.offset = slot.unused[0] = input.Get<std::uint8_t>();
    const auto body = input.GetBytes();
    if (!body.empty()) {
      // Wraps: what is overwritten is another message that the server may not have read.
      next_body_ = next_body_ + body.size() > layout_.stub_arena.size ? kBodies : next_body_;
      slot.offset = next_body_;
      slot.size = body.size();
      std::memcpy(data_ + layout_.stub_arena.offset + next_body_, body.data(), body.size());
      next_body_ += (body.size() + 63) / 64 * 64;
    }
    Push(slot, ring, tail);
  }

  void SendEvent(Input& input) { Send(input, layout_.events, events_); }
  void SendReply(Input& input) { Send(input, layout_.replies, replies_); }

  void SendSlot(Input& input) {
    ipc::Slot slot{};
    const auto bytes = input.Take(sizeof(slot));
    std::memcpy(&slot, bytes.data(), bytes.size());
    Push(slot, layout_.events, events_);
  }

  void Poke(Input& input) {
    const auto area = static_cast<Area>(input.Get<std::uint8_t>() % static_cast<std::uint8_t>(Area::kCount));
    const auto offset = input.Get<std::uint32_t>();
    const auto bytes = input.GetBytes();
    const ipc::Extent extent = ExtentOf(area);
    const std::uint64_t at = offset % extent.size;
    std::memcpy(data_ + extent.offset + at, bytes.data(),
                std::min<std::uint64_t>(bytes.size(), extent.size - at));
  }

  void Move(Input& input) {
    const ipc::RingExtent rings[]{layout_.work, layout_.replies, layout_.events};
    auto& control = ControlOf(rings[input.Get<std::uint8_t>() % std::size(rings)]);
    const bool head = (input.Get<std::uint8_t>() & 1U) != 0;
    auto& index = head ? control.consumer.head : control.producer.tail;
    index.fetch_add(input.Get<std::uint32_t>());
  }

 private:
  [[nodiscard]] ipc::Extent ExtentOf(Area area) const {
    switch (area) {
      case Area::kServerArena:
        return layout_.server_arena;
      case Area::kStubArena:
        return layout_.stub_arena;
      default:
        return {.offset = 0, .size = layout_.server_arena.offset};
    }
  }

  ipc::RingControl& ControlOf(const ipc::RingExtent& ring) {
    return *reinterpret_cast<ipc::RingControl*>(data_ + ring.offset);
  }

  void Push(const ipc::Slot& slot, const ipc::RingExtent& ring, std::uint32_t& tail) {
    const std::uint64_t at = ring.offset + sizeof(ipc::RingControl) + tail % ring.capacity * sizeof(slot);
    std::memcpy(data_ + at, &slot, sizeof(slot));
    ControlOf(ring).producer.tail.store(++tail);
  }

  const ipc::Layout layout_;
  std::byte* data_ = nullptr;
  std::uint64_t next_body_ = kBodies;
  std::uint32_t events_ = 0;
  std::uint32_t replies_ = 0;
};

// One execution: what Instance and Attachment do on the thread that executes, without a process to wait for.
class Execution {
 public:
  Execution(backend::Conversation& conversation, std::span<TRITONBACKEND_Request* const> requests,
            const backend::ResponderFacts& facts, std::uint64_t id)
      : conversation_(conversation),
        facts_(facts),
        id_(id),
        batch_(nullptr, requests),
        leases_(conversation.leases()) {
    const std::uint64_t first = conversation.responders().Reserve(requests.size());
    ipc::Writer body;
    try {
      gathered_ = Gather(batch_, conversation.arena(), leases_, {.name = kInstance}, first, body);
      with_stub_.emplace(conversation.responders(), batch_, first);
      ipc::Slot slot{};
      slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kExecute);
      slot.id = id;
      auto blocks = ipc::PutBody(conversation.arena(), body.bytes(), slot);
      if (!conversation.channel().work().TryPush(slot, blocks)) {
        throw ipc::ProtocolError("the stub process does not take its work messages");
      }
    } catch (const ipc::ArenaFull& error) {
      with_stub_.reset();
      batch_.FailRest(error.code(), error.message());
      over_ = true;
    }
  }

  [[nodiscard]] bool over() const noexcept { return over_; }

  // Throws ProtocolError for a reply that condemns the stub.
  void Receive() {
    auto& replies = conversation_.channel().replies();
    for (auto slot = replies.Peek(); slot && !over_; slot = replies.Peek()) {
      if (slot->kind == static_cast<std::uint32_t>(ipc::MessageKind::kReply) && slot->id == id_) {
        Take(*slot);
        replies.Advance();
      } else {
        conversation_.CountDropped();
        replies.Advance();
        conversation_.leases().Settle({}, {});
      }
    }
  }

  // The stub is gone.
  void Fail() noexcept {
    with_stub_.reset();
    batch_.FailRest(ipc::Code::kInternal, "Stub process 'm_0' is not healthy.");
  }

 private:
  void Take(const ipc::Slot& slot) {
    const std::vector<std::byte> body = conversation_.channel().CopyBody(slot);
    const ipc::Reply reply = ipc::DecodeReply(body);
    while (conversation_.HandleEvents(kMostEvents)) {
    }
    const std::atomic<bool> gone{false};
    conversation_.AwaitEvents(slot.sent_before, gone);
    with_stub_->KeepOpen(gathered_.sent, reply);
    with_stub_.reset();
    Answer(reply);
    conversation_.leases().Settle(leases_.records(), reply.kept);
    leases_.Clear();
    over_ = true;
  }

  void Answer(const ipc::Reply& reply) {
    if (reply.failed) {
      batch_.FailRest(reply.code, std::string(reply.text));
      return;
    }
    if (reply.responses.size() != gathered_.sent.size()) {
      throw ipc::ProtocolError("another number of responses than of requests");
    }
    for (std::size_t i = 0; i < gathered_.sent.size(); ++i) {
      backend::Respond(batch_, batch_.items()[gathered_.sent[i]], reply.responses[i],
                       conversation_.payloads(), facts_.states, kInstance);
    }
  }

  backend::Conversation& conversation_;
  const backend::ResponderFacts& facts_;
  const std::uint64_t id_;
  backend::Batch batch_;
  backend::ExchangeLeases leases_;
  backend::Gathered gathered_;
  std::optional<backend::Responders::WithStub> with_stub_;
  bool over_ = false;
};

class Server {
 public:
  explicit Server(bool decoupled) : facts_{.instance_name = kInstance, .decoupled = decoupled, .states = {}} {
    facts_.states = backend::StateOutputs({"STATE"});
    gateway_ = std::make_shared<backend::bls::Gateway>(nullptr, std::make_shared<backend::bls::Waits>());
    gateway_->SetModel("m");
    conversation_ = backend::Conversation::Create({.region_name = "fuzz",
                                                   .max_bytes = kRegion,
                                                   .event_slots = kEventSlots,
                                                   .label = kInstance,
                                                   .gateway = gateway_,
                                                   .model_control = &control_,
                                                   .events_patience = std::chrono::milliseconds(0)});
    conversation_->responders().SetFacts(facts_);
    hostile_.emplace(conversation_->channel());
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;
  ~Server() = default;

  // The stub has ended, by itself or because it was condemned: as the listener's thread and the one that
  // executes deal with that. True when all that core gave us is answered, once.
  bool Finish() {
    conversation_->Close();
    if (execution_) {
      execution_->Fail();
      execution_.reset();
    }
    conversation_->Close();
    while (Models::Get().submitted() != 0) {
      auto* const request = Models::Get().Take();
      RespondWithNothing(request);
      Release(request);
    }
    ReleaseAnswered();
    gateway_->AwaitNone(ipc::Deadline::Never());
    if (asking_.valid()) {
      gone_ = true;
      conversation_->Wake();
      asking_.wait();
    }
    return EachIsAnsweredOnce();
  }

  // Throws what condemns the stub.
  void Do(Step step, Input& input) {
    switch (step) {
      case Step::kEvent:
        return hostile_->SendEvent(input);
      case Step::kReply:
        return hostile_->SendReply(input);
      case Step::kSlot:
        return hostile_->SendSlot(input);
      case Step::kPoke:
        return hostile_->Poke(input);
      case Step::kMove:
        return hostile_->Move(input);
      case Step::kHandle:
        conversation_->HandleEvents(input.Get<std::uint8_t>());
        conversation_->LookForCancelled();
        conversation_->channel().events().Awake();
        return;
      case Step::kBegin:
        return Begin(input.Get<std::uint8_t>());
      case Step::kReceive:
        return Receive();
      case Step::kAnswer:
        return Answer(input);
      case Step::kRelease:
        return ReleaseAnswered();
      case Step::kCancel:
        return Cancel(input.Get<std::uint8_t>());
      case Step::kIsReady:
        return AskReady();
      case Step::kGiveBack:
        conversation_->arena().GiveBack();
        Require(conversation_->channel().StubUsage().used <= kRegion);
        conversation_->TellLogLevels();
        return;
      case Step::kCount:
        return;
    }
  }

 private:
  [[nodiscard]] bool EachIsAnsweredOnce() const {
    return std::ranges::all_of(requests_, [this](const TRITONBACKEND_Request& request) {
      const bool answered = request.rescheduled ? request.sent.finals <= 1 : request.sent.finals == 1;
      return answered && request.released && (facts_.decoupled || request.sent.responses <= 1);
    });
  }

  void Begin(std::uint8_t count) {
    if (execution_) {
      return;
    }
    std::vector<TRITONBACKEND_Request*> batch;
    for (int i = 0; i <= count % 4; ++i) {
      batch.push_back(&requests_.emplace_back(MakeRequest("IN", "sixteen  bytes!!")));
    }
    execution_.emplace(*conversation_, batch, facts_, next_id_++);
    DropOver();
  }

  void Receive() {
    if (execution_) {
      execution_->Receive();
      DropOver();
    }
  }

  void DropOver() {
    if (execution_->over()) {
      execution_.reset();
    }
  }

  // Another model answers the oldest call: with an output, an error, nothing, or one of several responses.
  void Answer(Input& input) {
    const auto how = input.Get<std::uint8_t>() % 4;
    const std::string output(input.Get<std::uint8_t>(), 'x');
    if (how == 3 && streaming_ == nullptr && Models::Get().submitted() != 0) {
      streaming_ = Models::Get().Take();
    }
    if (how == 3) {
      if (streaming_ != nullptr) {
        RespondWith(streaming_, output, false);
      }
      return;
    }
    auto* request = std::exchange(streaming_, nullptr);
    if (request == nullptr && Models::Get().submitted() != 0) {
      request = Models::Get().Take();
    }
    if (request == nullptr) {
      return;
    }
    if (how == 0) {
      RespondWith(request, output);
    } else if (how == 1) {
      RespondWithError(request, TRITONSERVER_ERROR_INTERNAL, output);
    } else {
      RespondWithNothing(request);
    }
    answered_.push_back(request);
  }

  void ReleaseAnswered() {
    if (auto* const request = std::exchange(streaming_, nullptr); request != nullptr) {
      RespondWithNothing(request);
      Release(request);
    }
    for (auto* const request : answered_) {
      Release(request);
    }
    answered_.clear();
  }

  void Cancel(std::uint8_t which) {
    if (!requests_.empty()) {
      tpb::fuzz::SetCancelled(&requests_[which % requests_.size()]);
    }
  }

  // On a thread of core, which waits for the answer.
  void AskReady() {
    if (!asking_.valid()) {
      asking_ = std::async(std::launch::async, [this] {
        try {
          conversation_->ready_check().Ask(kInstance, gone_);
        } catch (const ipc::Error&) {  // NOLINT(bugprone-empty-catch)
          // It is not ready, or has gone.
        }
      });
    }
  }

  backend::ResponderFacts facts_;
  std::deque<TRITONBACKEND_Request> requests_;
  backend::control::ModelControl control_;
  std::shared_ptr<backend::bls::Gateway> gateway_;
  std::shared_ptr<backend::Conversation> conversation_;
  std::optional<Hostile> hostile_;
  std::optional<Execution> execution_;
  std::uint64_t next_id_ = 1;
  std::vector<TRITONSERVER_InferenceRequest*> answered_;
  TRITONSERVER_InferenceRequest* streaming_ = nullptr;
  std::atomic<bool> gone_{false};
  std::future<void> asking_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Models::Get().Reset();
  LogOfStandIn() = {.enabled = 0xf, .lines = {}};
  tpb::fuzz::ForgetCancelled();
  Input input({data, size});
  const auto model = input.Get<std::uint8_t>();
  Models::Get().decoupled = (model & 2U) != 0;
  Models::Get().served = (model & 4U) == 0;
  auto server = std::make_unique<Server>((model & 1U) != 0);
  try {
    while (!input.empty()) {
      const auto step = input.Get<std::uint8_t>() % static_cast<std::uint8_t>(Step::kCount);
      server->Do(static_cast<Step>(step), input);
    }
  } catch (const ipc::Error&) {  // NOLINT(bugprone-empty-catch)
    // The stub is condemned; any other exception is a find.
  }
  Require(server->Finish());
  server.reset();
  Require(Models::Get().alive() == 0 && tpb::fuzz::AliveInCore() == 0);
  return 0;
}
