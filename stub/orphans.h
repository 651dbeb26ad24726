// Calls that nobody waits for any more, until the server has done with them.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace tpb::stub {

class Connection;
class Lease;
class OpenCall;

// Any thread.
class Orphans {
 public:
  explicit Orphans(Connection& connection);
  Orphans(const Orphans&) = delete;
  Orphans& operator=(const Orphans&) = delete;
  Orphans(Orphans&&) = delete;
  Orphans& operator=(Orphans&&) = delete;
  ~Orphans();

  // Cancels the call. `lent`: blocks of the server that its inputs lie in.
  void Adopt(std::unique_ptr<OpenCall> call, std::vector<std::shared_ptr<Lease>> lent) noexcept;

  // Takes the answers that came, and ends the calls that are over. Never waits.
  void Reap() noexcept;

 private:
  struct Orphan {
    std::unique_ptr<OpenCall> call;
    std::vector<std::shared_ptr<Lease>> lent;
  };
  bool IsOver(OpenCall& call);

  Connection& connection_;  // owns this
  std::mutex mutex_;
  std::vector<Orphan> orphans_;
};

}  // namespace tpb::stub
