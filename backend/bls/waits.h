// Which instances of python models wait for which other models, to find a call that could only wait for
// itself.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

namespace tpb::backend::bls {

class Gateway;

// One for all models of a backend. Any thread; never waits.
//
// An instance executes nothing else while the thread that executes its batch waits for a call. If every
// instance of the model that it calls waits in such a way, directly or not, for the caller itself, no answer
// can ever come. An instance that is idle, computes, or waits for a model that is not ours may always get to
// it.
class Waits {
 public:
  // An instance of `model` serves from here on, until Remove(); its stub calls through `gateway`.
  void Add(const Gateway* gateway, const std::string& model);
  void Remove(const Gateway* gateway) noexcept;

  // The instance begins to wait for `model`, until Leave(). Unless that closes a cycle: then it does not, and
  // the way round is returned, as `'a' waits for 'b', which waits for 'a'`.
  std::optional<std::string> Enter(const Gateway* gateway, const std::string& model);
  void Leave(const Gateway* gateway) noexcept;

 private:
  using Stuck = std::set<const Gateway*>;

  [[nodiscard]] Stuck FindStuck() const;
  [[nodiscard]] bool MayAnswer(const std::string& model, const Stuck& stuck) const;
  [[nodiscard]] std::string Describe(const Gateway* from) const;

  std::mutex mutex_;
  std::map<const Gateway*, std::string> models_;               // of each instance
  std::map<std::string, std::set<const Gateway*>> instances_;  // of each model
  std::map<const Gateway*, std::string> waits_for_;
};

}  // namespace tpb::backend::bls
