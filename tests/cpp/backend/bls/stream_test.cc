// Calls of models that answer any number of times: what waits while the stub has not taken an answer, and how
// much of that there may be.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/bls/answers.h"
#include "tests/cpp/backend/bls/caller.h"
#include "tests/cpp/backend/bls/stand_in_models.h"
#include "tests/cpp/check.h"

namespace {

namespace ipc = tpb::ipc;

Models& Core() { return Models::Get(); }

// The responses of one answer: outputs, errors as "! text", and "end" for the end without a response.
struct Part {
  std::vector<std::string> responses;
  bool last = false;
};

// A stub that reads a stream in slot 0, as call 1.
struct Reader {
  Reader() {
    Core().decoupled = true;
    ipc::Call call = CallOf("m");
    call.flags = ipc::kCallDecoupled;
    caller.Send(1, call);
    caller.Handle();
    request = Core().Take();
  }

  void Push(ipc::MessageKind kind, std::uint64_t id, std::uint32_t flags = 0) {
    ipc::Slot event{};
    event.kind = static_cast<std::uint32_t>(kind);
    event.id = id;
    event.flags = flags;
    std::vector<ipc::Block> none;
    CHECK(caller.stub->events().TryPush(event, none));
    caller.Handle();
  }

  // Takes the answer that is there, if there is one; tells the server when it wants to know.
  std::optional<Part> Take() {
    const auto posted = caller.slots->Peek(0, 1);
    if (!posted) {
      return std::nullopt;
    }
    CHECK(!posted->no_room);
    const auto shared = caller.stub->ServerBytes(posted->offset, posted->size);
    const std::vector<std::byte> body(shared.begin(), shared.end());
    const ipc::CallAnswer answer = ipc::DecodeCallAnswer(body);
    Part part{.responses = {}, .last = answer.last};
    for (const auto& response : answer.responses) {
      part.responses.push_back(Text(answer, response));
    }
    Push(ipc::MessageKind::kRelease, posted->lease);
    for (const auto& lease : answer.leases) {
      Push(ipc::MessageKind::kRelease, lease.lease);
    }
    if (!part.last && caller.slots->Advance(0)) {
      Push(ipc::MessageKind::kTaken, 1);
    }
    return part;
  }

  // Everything up to the last answer, which must be there.
  std::vector<std::string> TakeAll() {
    std::vector<std::string> all;
    while (true) {
      const auto part = Take();
      CHECK(part.has_value());
      all.insert(all.end(), part->responses.begin(), part->responses.end());
      if (part->last) {
        return all;
      }
    }
  }

  std::string Text(const ipc::CallAnswer& answer, const ipc::Response& response) {
    if (response.kind == ipc::ResponseKind::kError) {
      return "! " + std::string(response.text);
    }
    for (const auto& lease : answer.leases) {
      if (!response.outputs.empty() && lease.lease == response.outputs[0].lease) {
        const auto bytes = caller.stub->ServerBytes(lease.offset, response.outputs[0].size);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
      }
    }
    return "end";
  }

  Caller caller;
  TRITONSERVER_InferenceRequest* request;
};

TEST(Stream, AReaderThatKeepsUpTakesEachResponseByItself) {
  Reader reader;

  for (const std::string number : {"one", "two", "three"}) {
    RespondWith(reader.request, number, false);
    CHECK(reader.Take()->responses == std::vector<std::string>{number});
  }
  CHECK(!reader.Take());
  RespondWithNothing(reader.request);
  Release(reader.request);

  const auto end = reader.Take();
  CHECK(end->last);
  CHECK(end->responses == std::vector<std::string>{"end"});
  reader.caller.CheckNothingLeft();
}

TEST(Stream, WhatWaitsComesTogetherAndInOrder) {
  Reader reader;
  std::vector<std::string> sent;
  for (int number = 0; number < 200; ++number) {
    sent.push_back(std::to_string(number));
    RespondWith(reader.request, sent.back(), false);
  }
  sent.emplace_back("last");
  RespondWith(reader.request, "last", true);
  Release(reader.request);

  CHECK_EQ(reader.Take()->responses.size(), 1U);  // which was posted before the others came
  auto taken = reader.Take()->responses;
  CHECK_EQ(taken.size(), 64U);
  for (const auto& response : reader.TakeAll()) {
    taken.push_back(response);
  }
  sent.erase(sent.begin());
  CHECK(taken == sent);
  reader.caller.CheckNothingLeft();
}

TEST(Stream, TooMuchThatWaitsEndsItWithAnError) {
  Reader reader;
  const std::string megabyte(std::size_t{1} << 20, 'x');
  RespondWith(reader.request, "taken", false);
  for (int number = 0; number < 80; ++number) {
    RespondWithError(reader.request, TRITONSERVER_ERROR_INTERNAL, megabyte, false);
    CHECK_EQ(reader.request->cancelled, number >= 63);  // with what else is in a message
  }
  RespondWithNothing(reader.request);
  Release(reader.request);

  CHECK(reader.Take()->responses == std::vector<std::string>{"taken"});
  const auto taken = reader.TakeAll();
  CHECK_EQ(taken.size(), 64U);
  CHECK_EQ(taken.front(), "! " + megabyte);
  CHECK_EQ(taken.back(),
           "! Model m - Error when running inference: it answers faster than the caller reads, and too many "
           "responses wait: the call was cancelled");
  reader.caller.CheckNothingLeft();
}

TEST(Stream, OneThatNobodyReadsAnyMoreIsCancelledAndKeepsNothing) {
  Reader reader;
  RespondWith(reader.request, "one", false);
  RespondWith(reader.request, "two", false);

  reader.Push(ipc::MessageKind::kCancelCall, 1, ipc::kLast);
  CHECK(reader.request->cancelled);
  RespondWith(reader.request, "three", false);
  RespondWithNothing(reader.request);
  Release(reader.request);

  CHECK(reader.Take()->responses == std::vector<std::string>{"one"});  // which was posted already
  CHECK(reader.TakeAll().empty());
  reader.caller.CheckNothingLeft();
}

// The service thread may have looked the call up before its last answer, and post what waits after it.
TEST(Stream, NothingIsPostedBehindTheLastAnswer) {
  Caller caller;
  tpb::backend::bls::Answers answers(*caller.conversation, 1, 0, false);
  answers.End();
  CHECK(answers.Post([] {}));
  const auto last = caller.slots->Peek(0, 1);
  CHECK(last.has_value());
  caller.slots->Advance(0);  // and the slot may be another call's

  answers.Post([] {});

  CHECK(!caller.slots->Peek(0, 2));
  Got got;
  got.leases = {last->lease};
  caller.Release(got);
  caller.CheckNothingLeft();
}

}  // namespace
