#include "tests/cpp/backend/bls/caller.h"

#include <fcntl.h>

#include <cstring>
#include <utility>

#include "ipc/deadline.h"
#include "tests/cpp/backend/bls/stand_in_models.h"
#include "tests/cpp/check.h"

namespace {

namespace ipc = tpb::ipc;
using tpb::backend::Conversation;

constexpr std::uint64_t kRegion = std::uint64_t{8} << 20;

ipc::UniqueFd Duplicate(int fd) { return ipc::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Caller::Caller(bool with_gateway) {
  Models::Get().Reset();
  if (with_gateway) {
    gateway =
        std::make_shared<tpb::backend::bls::Gateway>(nullptr, std::make_shared<tpb::backend::bls::Waits>());
  }
  conversation = Conversation::Create(
      {.region_name = "tpb-test-bls", .max_bytes = kRegion, .label = "caller_0", .gateway = gateway});
  ipc::Welcome welcome;
  welcome.layout = conversation->channel().layout();
  welcome.memfd = Duplicate(conversation->channel().memfd());
  welcome.eventfd = Duplicate(conversation->channel().eventfd());
  stub = ipc::StubChannel::Attach(std::move(welcome));
  slots = std::make_unique<ipc::CallSlots>(stub->calls());
}

ipc::Tensor Caller::Input(std::string_view name, std::string_view payload) {
  ipc::Tensor tensor;
  tensor.name = name;
  tensor.dtype = ipc::DataType::kUint8;
  tensor.place = ipc::Place::kStubArena;
  tensor.size = payload.size();
  if (!payload.empty()) {
    payloads_.push_back(stub->arena()->Allocate(payload.size()));
    std::memcpy(payloads_.back().data(), payload.data(), payload.size());
    tensor.offset = payloads_.back().offset();
  }
  return Shaped(tensor, {static_cast<std::int64_t>(payload.size())});
}

ipc::Tensor Caller::Shaped(ipc::Tensor tensor, std::vector<std::int64_t> shape) {
  tensor.shape = shapes_.emplace_back(std::move(shape));
  return tensor;
}

char& Caller::Byte(const ipc::Tensor& tensor) {
  return *reinterpret_cast<char*>(stub->arena()->data() + tensor.offset);
}

void Caller::Send(std::uint64_t id, const ipc::Call& call) {
  ipc::Writer body;
  ipc::Encode(call, body);
  SendBody(id, body.bytes());
}

void Caller::SendBody(std::uint64_t id, std::span<const std::byte> body) {
  ipc::Slot event{};
  event.kind = static_cast<std::uint32_t>(ipc::MessageKind::kCall);
  event.id = id;
  auto blocks = ipc::PutBody(*stub->arena(), body, event);
  CHECK(stub->events().TryPush(event, blocks));
}

void Caller::Handle() {
  while (conversation->HandleEvents(100)) {
  }
}

Got Caller::Answer(std::uint32_t slot, std::uint64_t id) {
  const auto posted = slots->Await(slot, id, [] { return false; });
  CHECK(posted.has_value());
  Got got;
  got.no_room = posted->no_room;
  if (got.no_room) {
    return got;
  }
  const auto shared = stub->ServerBytes(posted->offset, posted->size);
  const std::vector<std::byte> body(shared.begin(), shared.end());
  const ipc::CallAnswer answer = ipc::DecodeCallAnswer(body);
  CHECK(answer.last);
  CHECK_EQ(answer.responses.size(), 1U);
  const ipc::Response& response = answer.responses.front();
  got.kind = response.kind;
  got.code = response.code;
  got.error = response.text;
  got.leases.push_back(posted->lease);
  for (const auto& lease : answer.leases) {
    got.leases.push_back(lease.lease);
  }
  for (const auto& output : response.outputs) {
    CHECK_EQ(output.place, ipc::Place::kServerArena);
    std::string bytes;
    for (const auto& lease : answer.leases) {
      if (lease.lease == output.lease) {
        CHECK(output.offset + output.size <= lease.size);
        bytes = Text(stub->ServerBytes(lease.offset + output.offset, output.size));
      }
    }
    got.outputs.push_back(bytes);
  }
  for (const auto& parameter : response.parameters) {
    got.parameters.emplace_back(parameter.name);
  }
  return got;
}

void Caller::Release(const Got& got) {
  for (const auto lease : got.leases) {
    ipc::Slot event{};
    event.kind = static_cast<std::uint32_t>(ipc::MessageKind::kRelease);
    event.id = lease;
    std::vector<ipc::Block> none;
    CHECK(stub->events().TryPush(event, none));
  }
  Handle();
}

void Caller::CheckNothingLeft() {
  CHECK_EQ(conversation->leases().size(), 0U);
  CHECK_EQ(conversation->arena().BytesInUse(), 0U);
  CHECK_EQ(conversation->dropped(), 0U);
  if (gateway) {
    CHECK_EQ(Models::Get().alive(), 1);  // the gateway's allocator
    gateway->AwaitNone(ipc::Deadline::Never());
  }
}

ipc::Call CallOf(std::string_view model, std::uint32_t slot) {
  ipc::Call call;
  call.model_name = model;
  call.slot = slot;
  return call;
}
