// pb_utils.InferenceResponseSender: answers one request with responses of its own, before or after execute
// has returned, on any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ipc/messages.h"
#include "stub/connection.h"
#include "stub/model_facts.h"
#include "stub/response.h"
#include "stub/responses.h"

namespace tpb::stub {

// TRITONSERVER_ResponseCompleteFlag.
inline constexpr std::uint32_t kCompleteFinal = 1;

// Lets threads through in the order of their tickets.
class Turnstile {
 public:
  std::uint64_t Take() noexcept { return next_++; }  // with the GIL held
  void Await(std::uint64_t ticket);                  // without it
  void Leave();

 private:
  std::uint64_t next_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::uint64_t serving_ = 0;  // under mutex_
};

// Used and destroyed with the GIL held. One whose last reference goes without a complete-final flag tells the
// server so, and the client gets an error.
class ResponseSender {
 public:
  // Of the request that `wire` describes. Without a connection, of one that a model made: nothing can be
  // sent.
  ResponseSender(std::shared_ptr<Connection> connection, std::uint64_t id,
                 std::shared_ptr<const ModelFacts> facts, std::vector<std::string> requested_outputs);
  ResponseSender(const ResponseSender&) = delete;
  ResponseSender& operator=(const ResponseSender&) = delete;
  ResponseSender(ResponseSender&&) = delete;
  ResponseSender& operator=(ResponseSender&&) = delete;
  ~ResponseSender();

  // Hands over what the tensors hold at this moment and returns; waits only while the server has not yet
  // taken what was sent before and there is no room for more. `response` may be null for a bare final flag.
  // Throws Error, with the texts that models know, for what is not allowed.
  void Send(const std::shared_ptr<InferenceResponse>& response, std::uint32_t flags);

  // An error and the final flag, unless that was sent before.
  void Fail(ipc::Code code, const std::string& text);

  // Whether the client has given the request up. The first question waits for the server, later ones read a
  // word of memory. True for good once it was.
  bool IsCancelled();

  // Something else answers the request, or nothing does: what comes from here on is refused.
  void Close() noexcept { closed_ = true; }
  [[nodiscard]] bool closed() const noexcept { return closed_; }

  // Throws Error when one more response may not be sent.
  void CheckOneMore() const;

 private:
  void Check(const InferenceResponse* response, std::uint32_t flags) const;
  void SendAnswer(std::optional<Answer> answer, bool final);
  void Push(std::vector<Answer>& answers, bool final);

  const std::shared_ptr<Connection> connection_;  // null for a request that a model made
  const std::uint64_t id_;
  const std::shared_ptr<const ModelFacts> facts_;  // as the connection
  const std::vector<std::string> requested_outputs_;
  std::uint64_t responses_ = 0;
  bool closed_ = false;
  bool cancelled_ = false;
  std::optional<std::uint32_t> cancellation_word_;
  Turnstile turnstile_;
};

}  // namespace tpb::stub
