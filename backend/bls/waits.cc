#include "backend/bls/waits.h"

#include <algorithm>

namespace tpb::backend::bls {

void Waits::Add(const Gateway* gateway, const std::string& model) {
  const std::scoped_lock lock(mutex_);
  models_[gateway] = model;
  instances_[model].insert(gateway);
}

void Waits::Remove(const Gateway* gateway) noexcept {
  const std::scoped_lock lock(mutex_);
  const auto found = models_.find(gateway);
  if (found == models_.end()) {
    return;
  }
  const auto siblings = instances_.find(found->second);
  siblings->second.erase(gateway);
  if (siblings->second.empty()) {
    instances_.erase(siblings);
  }
  models_.erase(found);
  waits_for_.erase(gateway);
}

std::optional<std::string> Waits::Enter(const Gateway* gateway, const std::string& model) {
  const std::scoped_lock lock(mutex_);
  if (!models_.contains(gateway)) {
    return std::nullopt;
  }
  waits_for_[gateway] = model;
  if (!FindStuck().contains(gateway)) {
    return std::nullopt;
  }
  std::string way = Describe(gateway);
  waits_for_.erase(gateway);
  return way;
}

void Waits::Leave(const Gateway* gateway) noexcept {
  const std::scoped_lock lock(mutex_);
  waits_for_.erase(gateway);
}

// Whoever waits is taken for stuck until one is found that may answer it.
Waits::Stuck Waits::FindStuck() const {
  Stuck stuck;
  for (const auto& [gateway, model] : waits_for_) {
    stuck.insert(gateway);
  }
  while (std::erase_if(
             stuck, [&](const Gateway* gateway) { return MayAnswer(waits_for_.at(gateway), stuck); }) != 0) {
  }
  return stuck;
}

bool Waits::MayAnswer(const std::string& model, const Stuck& stuck) const {
  const auto found = instances_.find(model);
  return found == instances_.end() ||
         !std::ranges::all_of(found->second, [&](const Gateway* gateway) { return stuck.contains(gateway); });
}

// From one that is stuck: each model waits for another one, and in the end for one that was passed.
std::string Waits::Describe(const Gateway* from) const {
  std::string model = waits_for_.at(from);
  std::string way = "'" + models_.at(from) + "' waits for '" + model + "'";
  std::set<std::string> passed{models_.at(from)};
  while (passed.insert(model).second) {
    model = waits_for_.at(*instances_.at(model).begin());
    way += ", which waits for '" + model + "'";
  }
  return way;
}

}  // namespace tpb::backend::bls
