// Starts an instance's stub anew when it has died: with growing pauses, and not for ever when it dies again
// and again.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace tpb::backend {

// One stub in the service of an instance, as the healer sees it.
class Generation {
 public:
  Generation() = default;
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  Generation(Generation&&) = delete;
  Generation& operator=(Generation&&) = delete;
  virtual ~Generation() = default;

  // Makes it ready for requests; may take as long as the model likes. Throws ipc::Error.
  virtual void Initialize() = 0;

  [[nodiscard]] virtual bool gone() const noexcept = 0;

  // Ends it: Initialize() then returns soon, with an error.
  virtual void Condemn(const std::string& why) noexcept = 0;

  // How it ended: "It was killed by signal 9 (Killed)."
  [[nodiscard]] virtual std::string Epitaph() const = 0;

  // The same for counting: "signal 9", "exit 1".
  [[nodiscard]] virtual std::string Cause() const = 0;
};

struct HealingPolicy {
  bool restart = true;
  int max_deaths = 5;  // within `window`: then the breaker opens
  std::chrono::milliseconds window{60'000};
  std::chrono::milliseconds hold{30'000};  // how long a batch waits for the next generation
  std::chrono::milliseconds first_pause{500};
  std::chrono::milliseconds longest_pause{30'000};
  std::chrono::milliseconds open{30'000};  // how long the breaker stays open; then one more try
};

class Healer {
 public:
  struct Callbacks {
    // Starts the next generation's process; gives up when `interrupt` becomes readable. Throws ipc::Error.
    std::function<std::shared_ptr<Generation>(int interrupt)> spawn;
    // Whether another instance of the model answers requests meanwhile.
    std::function<bool()> sibling_serves;
    // Whether core still serves the model: what it does not is not started anew.
    std::function<bool()> wanted;
    // A generation is up, or the last one was lost.
    std::function<void(bool up)> changed;
    // One has died, or did not come up, of `cause`.
    std::function<void(const std::string& cause)> died;
    // Sentences for the log, the second an error.
    std::function<void(const std::string&)> tell;
    std::function<void(const std::string&)> complain;
  };

  Healer(std::string instance, const HealingPolicy& policy, Callbacks callbacks);
  Healer(const Healer&) = delete;
  Healer& operator=(const Healer&) = delete;
  Healer(Healer&&) = delete;
  Healer& operator=(Healer&&) = delete;
  ~Healer() { Stop(); }

  // `first` has initialized; from now on it is replaced when it dies.
  void Begin(std::shared_ptr<Generation> first);

  // The current generation may have died. Any thread, never waits.
  void Notice() noexcept;

  // The generation that answers requests now; null when none does.
  [[nodiscard]] std::shared_ptr<Generation> Current() const;

  // The same, and waits for the next one if need be; throws ipc::Error (UNAVAILABLE) with the reason when
  // there is none in time. When the breaker is open, only an instance with a sibling that serves waits: to
  // fail faster than the sibling answers would drain the queue into errors.
  std::shared_ptr<Generation> Await();

  // Why Current() is null.
  [[nodiscard]] ipc::Error WhyNone() const;

  // No generation follows any more: ends the one that is being started. Returns the one that is up.
  std::shared_ptr<Generation> Stop() noexcept;

  // Times a new generation has come up.
  [[nodiscard]] std::uint64_t restarts() const;

 private:
  using Clock = std::chrono::steady_clock;

  void Run();
  bool StillWanted(std::unique_lock<std::mutex>& lock);
  bool Pause(std::unique_lock<std::mutex>& lock, Clock::duration duration);
  void Mourn(std::unique_lock<std::mutex>& lock);
  void EndUnlocked(std::shared_ptr<Generation> generation, std::unique_lock<std::mutex>& lock);
  void CountDeath(const std::string& how, const std::string& cause);
  std::shared_ptr<Generation> StartNext(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] Clock::duration NextPause() const;
  [[nodiscard]] ipc::Error Unavailable() const;

  const std::string instance_;
  const HealingPolicy policy_;
  const Callbacks callbacks_;
  const ipc::UniqueFd interrupt_;  // an eventfd

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Generation> current_;
  std::shared_ptr<Generation> starting_;
  std::deque<Clock::time_point> deaths_;  // within the window
  std::string last_failure_;
  std::optional<Clock::time_point> open_until_;
  bool half_open_ = false;  // one more death opens the breaker again
  bool stop_ = false;
  bool unwanted_ = false;  // as stop_, for core has given the model up
  std::uint64_t restarts_ = 0;
  std::thread thread_;
};

}  // namespace tpb::backend
