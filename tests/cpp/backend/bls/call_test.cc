// Calls to other models, from the stub's message to the answer in its slot: what the real server cannot be
// made to do on purpose.
#include "backend/bls/call.h"

#include <atomic>
#include <bit>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ipc/error.h"
#include "tests/cpp/backend/bls/caller.h"
#include "tests/cpp/backend/bls/stand_in_models.h"
#include "tests/cpp/check.h"

namespace {

namespace ipc = tpb::ipc;
using tpb::backend::Conversation;

Models& Core() { return Models::Get(); }

ipc::Call FullCall(Caller& caller) {
  ipc::Call call = CallOf("another", 5);
  call.model_version = 3;
  call.request.id = "an id";
  call.request.correlation_text = "a sequence";
  call.request.correlation_is_text = true;
  call.request.flags = 3;
  call.request.timeout_us = 11'000'000'000;
  call.request.requested_outputs = {"OUT", "ALSO"};
  call.request.parameters = {
      {.name = "yes", .type = ipc::ParameterType::kBool, .bits = 1, .text = {}},
      {.name = "less", .type = ipc::ParameterType::kInt, .bits = ~std::uint64_t{4}, .text = {}},
      {.name = "half",
       .type = ipc::ParameterType::kDouble,
       .bits = std::bit_cast<std::uint64_t>(0.5),
       .text = {}},
      {.name = "word", .type = ipc::ParameterType::kString, .bits = 0, .text = "text"}};
  call.request.inputs = {caller.Input("IN", "payload"), caller.Input("EMPTY", "")};
  return call;
}

TEST(Call, ReachesCoreWithEverything) {
  Caller caller;
  caller.Send(7, FullCall(caller));

  caller.Handle();

  auto* request = Core().Take();
  CHECK_EQ(request->model, "another");
  CHECK_EQ(request->version, 3);
  CHECK_EQ(request->id, "an id");
  CHECK_EQ(request->correlation, "a sequence");
  CHECK_EQ(request->flags, 3U);
  CHECK_EQ(request->timeout_us, 11'000'000'000U);
  CHECK(request->requested_outputs == (std::vector<std::string>{"OUT", "ALSO"}));
  CHECK(request->parameters == (std::map<std::string, std::string>{
                                   {"yes", "true"}, {"less", "-5"}, {"half", "0.500000"}, {"word", "text"}}));
  CHECK_EQ(request->inputs.size(), 2U);
  CHECK_EQ(std::string(request->inputs[0].base, request->inputs[0].size), "payload");
  CHECK_EQ(request->inputs[0].shape.at(0), 7);
  CHECK_EQ(request->inputs[1].size, 0U);
  RespondWith(request, "the answer");
  Release(request);
  const Got got = caller.Answer(5, 7);
  CHECK_EQ(got.outputs.at(0), "the answer");
  caller.Release(got);
  caller.CheckNothingLeft();
}

// Core may let go of a request before its response is there, afterwards, or both before the submission
// returns.
TEST(Call, AResponseMayComeAfterTheRelease) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();
  const TRITONSERVER_InferenceRequest known = *request;

  Release(request);
  CHECK_EQ(caller.stub->calls()[0].answered.load(), 0U);
  auto again = known;
  RespondWith(&again, "late");

  const Got got = caller.Answer(0, 1);
  CHECK_EQ(got.outputs.at(0), "late");
  caller.Release(got);
  caller.CheckNothingLeft();
}

TEST(Call, AReleaseMayComeAfterTheResponse) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();

  RespondWith(request, "early");
  CHECK_EQ(caller.stub->calls()[0].answered.load(), 0U);
  Release(request);

  const Got got = caller.Answer(0, 1);
  CHECK_EQ(got.outputs.at(0), "early");
  caller.Release(got);
  caller.CheckNothingLeft();
}

TEST(Call, EverythingMayHappenWithinTheSubmission) {
  Caller caller;
  Core().answer_at_once = "cached";
  for (std::uint64_t id = 1; id <= 3; ++id) {
    caller.Send(id, CallOf("m"));
    caller.Handle();

    const Got got = caller.Answer(0, id);
    CHECK_EQ(got.outputs.at(0), "cached");
    caller.Release(got);
    caller.stub->calls()[0].answered = 0;
  }
  caller.CheckNothingLeft();
}

TEST(Call, WhatCoreRefusesIsTheAnswer) {
  Caller caller;
  Core().refusal = "unexpected inference output 'ZZ' for model 'm'";
  caller.Send(1, FullCall(caller));

  caller.Handle();

  const Got got = caller.Answer(5, 1);
  CHECK_EQ(got.kind, ipc::ResponseKind::kError);
  CHECK_EQ(got.code, ipc::Code::kInvalidArg);
  CHECK_EQ(got.error,
           "Model another - Error when running inference: unexpected inference output 'ZZ' for model 'm'");
  caller.Release(got);
  caller.CheckNothingLeft();
}

TEST(Call, AModelThatIsNotServedIsNotAsked) {
  Caller caller;
  Core().served = false;
  caller.Send(1, CallOf("m", 0));
  caller.Handle();
  Core().unknown = "Request for unknown model: 'm' is not found";
  caller.Send(2, CallOf("m", 1));
  caller.Handle();
  Core().served = Core().decoupled = true;
  caller.Send(3, CallOf("m", 2));
  caller.Handle();

  const std::string start = "Model m - Error when running inference: ";
  const Got not_ready = caller.Answer(0, 1);
  CHECK_EQ(not_ready.error, start + "Failed for execute the inference request. Model 'm' is not ready.");
  const Got unknown = caller.Answer(1, 2);
  CHECK_EQ(unknown.error, start + "Request for unknown model: 'm' is not found");
  CHECK_EQ(unknown.code, ipc::Code::kNotFound);
  const Got decoupled = caller.Answer(2, 3);
  CHECK_EQ(
      decoupled.error,
      start +
          "Model m is using the decoupled. The current BLS request call doesn't support models using the "
          "decoupled transaction policy. Please use 'decoupled=True' argument to the 'exec' or 'async_exec' "
          "calls for decoupled models.'");
  for (const Got* got : {&not_ready, &unknown, &decoupled}) {
    caller.Release(*got);
  }
  CHECK_EQ(Core().submitted(), 0U);
  caller.CheckNothingLeft();
}

TEST(Call, AnErrorKeepsItsCodeAndTextAndNoBlockOfItsOutputs) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();

  RespondWithError(request, TRITONSERVER_ERROR_ALREADY_EXISTS, "no");
  Release(request);

  const Got got = caller.Answer(0, 1);
  CHECK_EQ(got.code, ipc::Code::kAlreadyExists);
  CHECK_EQ(got.error, "no");
  CHECK_EQ(got.leases.size(), 1U);
  CHECK_EQ(caller.conversation->arena().BytesInUse(), ipc::kAlignment);
  caller.Release(got);
  caller.CheckNothingLeft();
}

TEST(Call, OfSeveralResponsesTheFirstOneCounts) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();

  RespondWith(request, "first", false);
  RespondWith(request, "second", false);
  RespondWithNothing(request);
  Release(request);

  const Got got = caller.Answer(0, 1);
  CHECK(got.outputs == std::vector<std::string>{"first"});
  caller.Release(got);
  caller.CheckNothingLeft();
}

TEST(Call, NoResponseIsAnError) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();

  RespondWithNothing(request);
  Release(request);

  const Got got = caller.Answer(0, 1);
  CHECK_EQ(got.error, "Unexpected empty response.");
  caller.Release(got);
  caller.CheckNothingLeft();
}

TEST(Call, AResponseThatNoMessageCanSayIsAnError) {
  Caller caller;
  caller.Send(1, CallOf("m", 0));
  caller.Send(2, CallOf("m", 1));
  caller.Send(3, CallOf("m", 2));
  caller.Handle();
  auto* parameter = Core().Take();
  auto* elsewhere = Core().Take();
  auto* many_dims = Core().Take();

  auto* response = NewResponse(parameter, "output");
  response->parameters.push_back({.name = "raw", .type = TRITONSERVER_PARAMETER_BYTES, .number = 0});
  RespondWith(parameter, response);
  Release(parameter);
  static const std::string kNobodysBuffer = "where nobody asked for it";
  response = NewResponse(elsewhere, "output");
  response->outputs[0].base = kNobodysBuffer.data();
  RespondWith(elsewhere, response);
  Release(elsewhere);
  response = NewResponse(many_dims, "output");
  response->outputs[0].shape.assign(ipc::kMaxDims + 1, 1);
  RespondWith(many_dims, response);
  Release(many_dims);

  const Got first = caller.Answer(0, 1);
  CHECK_EQ(first.error, "Unsupported parameter type for parameter 'raw'.");
  const Got second = caller.Answer(1, 2);
  CHECK_EQ(second.error, "output 'OUT' lies where nobody asked for it");
  const Got third = caller.Answer(2, 3);
  CHECK_EQ(third.error, "tensor 'OUT' has 257 dimensions: at most 256 are supported");
  for (const Got* got : {&first, &second, &third}) {
    caller.Release(*got);
  }
  caller.CheckNothingLeft();
}

TEST(Call, ParametersOfAResponseArrive) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();

  auto* response = NewResponse(request, "");
  response->parameters = {{.name = "n", .type = TRITONSERVER_PARAMETER_INT, .number = 7},
                          {.name = "d", .type = TRITONSERVER_PARAMETER_DOUBLE, .number = 0}};
  RespondWith(request, response);
  Release(request);

  const Got got = caller.Answer(0, 1);
  CHECK(got.parameters == (std::vector<std::string>{"n", "d"}));
  CHECK(got.outputs == std::vector<std::string>{""});
  caller.Release(got);
  caller.CheckNothingLeft();
}

TEST(Call, AnOutputWithoutRoomIsAnErrorOfTheOtherModel) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();
  std::string error;

  CHECK(NewResponse(request, std::string(caller.conversation->arena().size() + 1, 'x'), &error) == nullptr);

  CHECK(error.starts_with("Failed to increase the shared memory pool size to "));
  RespondWithNothing(request);
  Release(request);
  caller.Release(caller.Answer(0, 1));
  caller.CheckNothingLeft();
}

TEST(Call, AnAnswerWithoutRoomIsSaidInItsSlot) {
  Caller caller;
  caller.Send(1, CallOf("m"));
  caller.Handle();
  auto* request = Core().Take();
  auto* response = NewResponse(request, "output");
  auto& arena = caller.conversation->arena();
  {
    const ipc::Block rest = arena.Allocate(arena.size() - arena.BytesInUse());

    RespondWith(request, response);
    Release(request);

    CHECK(caller.Answer(0, 1).no_room);
  }
  caller.CheckNothingLeft();
}

// Fixed-size payloads go by pointer; strings are parsed by whoever gets them, so the stub must not be able to
// change them meanwhile.
TEST(Call, OnlyStringsAreCopiedOutOfTheStubsReach) {
  Caller caller;
  ipc::Call call = CallOf("m");
  auto strings = caller.Input("STRINGS", std::string("\x02\0\0\0ab", 6));
  strings.dtype = ipc::DataType::kBytes;
  strings = caller.Shaped(strings, {1});
  const auto numbers = caller.Input("NUMBERS", "123456");
  call.request.inputs = {strings, numbers};
  caller.Send(1, call);
  caller.Handle();
  auto* request = Core().Take();

  caller.Byte(strings) = '\x7f';
  caller.Byte(numbers) = '9';

  CHECK_EQ(std::string(request->inputs[0].base, 6), std::string("\x02\0\0\0ab", 6));
  CHECK_EQ(std::string(request->inputs[1].base, 6), "923456");
  RespondWith(request, "");
  Release(request);
  caller.Release(caller.Answer(0, 1));
  caller.CheckNothingLeft();
}

TEST(Call, ATensorThatTheStubHoldsMayBeAnInput) {
  Caller caller;
  caller.Send(1, CallOf("m", 0));
  caller.Handle();
  auto* first = Core().Take();
  RespondWith(first, "passed on");
  Release(first);
  const Got got = caller.Answer(0, 1);
  auto tensor = caller.Input("IN", "");
  tensor = caller.Shaped(tensor, {6});
  tensor.place = ipc::Place::kServerArena;
  tensor.lease = got.leases[1];
  tensor.offset = 3;
  tensor.size = 6;
  ipc::Call call = CallOf("m", 1);
  call.request.inputs = {tensor};
  caller.Send(2, call);

  caller.Handle();

  auto* second = Core().Take();
  CHECK_EQ(std::string(second->inputs[0].base, second->inputs[0].size), "sed on");
  RespondWithNothing(second);
  Release(second);
  caller.Release(caller.Answer(1, 2));
  caller.Release(got);
  caller.CheckNothingLeft();
}

// --- the caller goes ---

TEST(Call, IsCancelledWhenNobodyListensAnyMore) {
  Caller caller;
  caller.Send(1, CallOf("m", 0));
  caller.Send(2, CallOf("m", 1));
  caller.Handle();
  auto* first = Core().Take();
  auto* second = Core().Take();
  const auto known = *second;
  Release(second);

  caller.conversation->Close();

  CHECK(first->cancelled);
  caller.Send(3, CallOf("m", 2));
  caller.Handle();
  CHECK_EQ(Core().submitted(), 0U);
  RespondWith(first, "for nobody");
  Release(first);
  auto again = known;
  RespondWith(&again, "for nobody");
  caller.gateway->AwaitNone(ipc::Deadline::Never());
  CHECK_EQ(Core().alive(), 1);
}

TEST(Call, OutlivesWhoeverMadeIt) {
  auto caller = std::make_unique<Caller>();
  ipc::Call call = CallOf("m");
  call.request.inputs = {caller->Input("IN", "payload")};
  caller->Send(1, call);
  caller->Handle();
  auto* request = Core().Take();
  const std::weak_ptr<Conversation> conversation = caller->conversation;
  caller->conversation->Close();

  caller.reset();

  CHECK_EQ(std::string(request->inputs[0].base, 7), "payload");
  RespondWith(request, "for nobody");
  CHECK(!conversation.expired());
  Release(request);
  CHECK(conversation.expired());
  CHECK_EQ(Core().alive(), 0);
}

// --- all at once ---

// Threads of a stub call, the service thread submits, threads of other models answer, and in the end somebody
// hangs up in the middle of it.
TEST(Call, ManyThreadsAtOnce) {
  constexpr std::uint64_t kEach = 400;
  constexpr int kThreads = 3;
  Caller caller;
  std::atomic<std::uint64_t> next_id{1};
  std::atomic<bool> over{false};
  const auto call = [&] {
    for (std::uint64_t i = 0; i < kEach; ++i) {
      const auto slot = caller.slots->Take();
      CHECK(slot.has_value());
      const std::uint64_t id = next_id++;
      caller.Send(id, CallOf("m", *slot));
      const Got got = caller.Answer(*slot, id);
      CHECK_EQ(got.outputs.at(0), "answer");
      caller.slots->GiveBack(*slot);
    }
  };
  const auto answer = [&] {
    for (std::uint64_t i = 0; i < kEach; ++i) {
      auto* request = Core().Take();
      RespondWith(request, "answer");
      Release(request);
    }
  };
  auto service = std::async(std::launch::async, [&] {
    while (!over) {
      caller.conversation->HandleEvents(10);
      std::this_thread::yield();
    }
  });

  std::vector<std::future<void>> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.push_back(std::async(std::launch::async, call));
    threads.push_back(std::async(std::launch::async, answer));
  }
  for (auto& thread : threads) {
    thread.get();
  }
  over = true;
  service.get();

  caller.gateway->AwaitNone(ipc::Deadline::Never());
  CHECK_EQ(caller.conversation->leases().size(), 2 * kEach * kThreads);
}

TEST(Call, AnswersMayMeetTheEndOfTheirCaller) {
  for (int round = 0; round < 200; ++round) {
    auto caller = std::make_unique<Caller>();
    for (std::uint32_t slot = 0; slot < 4; ++slot) {
      caller->Send(slot + 1, CallOf("m", slot));
    }
    caller->Handle();
    auto answering = std::async(std::launch::async, [] {
      for (int i = 0; i < 4; ++i) {
        auto* request = Core().Take();
        RespondWith(request, "answer");
        Release(request);
      }
    });

    caller->conversation->Close();
    caller->gateway->AwaitNone(ipc::Deadline::Never());
    caller.reset();

    answering.get();
    CHECK_EQ(Core().alive(), 0);
  }
}

}  // namespace
