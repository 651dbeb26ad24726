#include "stub/metrics.h"

#include <bit>
#include <exception>
#include <string_view>
#include <utility>

#include "ipc/error.h"
#include "ipc/messages.h"
#include "stub/ask.h"
#include "stub/gil.h"

namespace tpb::stub {
namespace {

using ipc::Code;
using ipc::Error;
using ipc::MetricKind;
using ipc::MetricUpdate;

constexpr char kDeleted[] =
    "Invalid metric operation as the corresponding 'MetricFamily' has been deleted. The 'MetricFamily' "
    "object "
    "should be deleted AFTER its corresponding 'Metric' objects have been deleted.";

const char* NameOf(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter:
      return "TRITONSERVER_METRIC_KIND_COUNTER";
    case MetricKind::kGauge:
      return "TRITONSERVER_METRIC_KIND_GAUGE";
    case MetricKind::kHistogram:
      return "TRITONSERVER_METRIC_KIND_HISTOGRAM";
  }
  return "";
}

// `doing` is as in "increment metric value".
[[noreturn]] void Refuse(const FamilyState& family, const char* doing, const std::string& why) {
  throw Error(Code::kInvalidArg,
              std::string("Failed to ") + doing + ": " + FromServer(*family.connection, why));
}

void CheckUsable(const FamilyState& family, const char* doing) {
  if (family.birthplace.InForkedChild()) {
    throw Error(
        Code::kUnsupported,
        std::string("Failed to ") + doing +
            ": this metric was made in another process. A forked child of a model has to make metrics "
            "of its own, of the same name and labels");
  }
  if (family.deleted) {
    throw Error(Code::kInvalidArg, std::string("Failed to ") + doing + ": " + kDeleted);
  }
}

ipc::Slot MakeEvent(std::uint64_t handle, MetricUpdate what, double value) {
  ipc::Slot slot{};
  slot.kind = static_cast<std::uint32_t>(ipc::MessageKind::kMetricUpdate);
  slot.id = handle;
  slot.unused[0] = static_cast<std::uint64_t>(what);
  slot.unused[1] = std::bit_cast<std::uint64_t>(value);
  return slot;
}

void Send(Connection& connection, const ipc::Slot& slot) {
  std::vector<ipc::Block> no_blocks;
  if (!connection.channel().events().TryPush(slot, no_blocks)) {
    const GilReleased no_gil;
    connection.PushEvent(slot, no_blocks);
  }
}

// Where the server is gone, so is what would be deleted.
void SendDelete(Connection& connection, std::uint64_t handle, MetricUpdate what) noexcept {
  try {
    Send(connection, MakeEvent(handle, what, 0));
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
  }
}

bool Can(MetricKind kind, MetricUpdate what) {
  switch (what) {
    case MetricUpdate::kIncrement:
      return kind != MetricKind::kHistogram;
    case MetricUpdate::kSet:
      return kind == MetricKind::kGauge;
    case MetricUpdate::kObserve:
      return kind == MetricKind::kHistogram;
    default:
      return false;
  }
}

std::shared_ptr<FamilyState> NewFamily(const std::string& name, const std::string& description,
                                       MetricKind kind) {
  auto state = std::make_shared<FamilyState>();
  state->connection = ServerFor("MetricFamily");
  state->kind = kind;
  ipc::Ask ask;
  ask.kind = ipc::AskKind::kNewFamily;
  ask.option = static_cast<std::uint32_t>(kind);
  ask.name = name;
  ask.text = description;
  try {
    state->handle = Ask(*state->connection, std::move(ask));
  } catch (const Error& error) {
    throw Error(error.code(),
                "Error when creating MetricFamily: " + FromServer(*state->connection, error.message()));
  }
  return state;
}

}  // namespace

MetricFamily::MetricFamily(const std::string& name, const std::string& description, MetricKind kind)
    : state_(NewFamily(name, description, kind)) {}

MetricFamily::~MetricFamily() {
  if (!state_->birthplace.InForkedChild()) {
    state_->deleted = true;
    SendDelete(*state_->connection, state_->handle, MetricUpdate::kDeleteFamily);
  }
}

std::unique_ptr<Metric> MetricFamily::NewMetric(const std::map<std::string, std::string>& labels,
                                                std::vector<double> buckets) const {
  CheckUsable(*state_, "create metric");
  ipc::Ask ask;
  ask.kind = ipc::AskKind::kNewMetric;
  ask.handle = state_->handle;
  ask.pairs.assign(labels.begin(), labels.end());
  ask.numbers = std::move(buckets);
  try {
    return std::make_unique<Metric>(state_, Ask(*state_->connection, std::move(ask)));
  } catch (const Error& error) {
    throw Refusal(error.message());
  }
}

Error MetricFamily::Refusal(std::string_view text) const {
  return {Code::kInvalidArg, "Error when creating Metric: " + FromServer(*state_->connection, text)};
}

Metric::Metric(std::shared_ptr<FamilyState> family, std::uint64_t handle)
    : family_(std::move(family)), handle_(handle) {}

Metric::~Metric() {
  if (!family_->birthplace.InForkedChild() && !family_->deleted) {
    SendDelete(*family_->connection, handle_, MetricUpdate::kDeleteMetric);
  }
}

void Metric::Update(const char* doing, const char* method, MetricUpdate what, double value) const {
  CheckUsable(*family_, doing);
  if (!Can(family_->kind, what)) {
    Refuse(*family_, doing, std::string(NameOf(family_->kind)) + " does not support " + method);
  }
  Send(*family_->connection, MakeEvent(handle_, what, value));
}

void Metric::Increment(double value) const {
  constexpr char kDoing[] = "increment metric value";
  CheckUsable(*family_, kDoing);
  if (family_->kind == MetricKind::kCounter && value < 0) {
    Refuse(*family_, kDoing,
           "TRITONSERVER_METRIC_KIND_COUNTER can only be incremented monotonically by non-negative values.");
  }
  Update(kDoing, "Increment", MetricUpdate::kIncrement, value);
}

void Metric::Set(double value) const { Update("set metric value", "Set", MetricUpdate::kSet, value); }

void Metric::Observe(double value) const {
  Update("observe metric value", "Observe", MetricUpdate::kObserve, value);
}

double Metric::Value() const {
  constexpr char kDoing[] = "get metric value";
  CheckUsable(*family_, kDoing);
  if (family_->kind == MetricKind::kHistogram) {
    Refuse(*family_, kDoing, "TRITONSERVER_METRIC_KIND_HISTOGRAM does not support Value");
  }
  ipc::Ask ask;
  ask.kind = ipc::AskKind::kMetricValue;
  ask.handle = handle_;
  try {
    return std::bit_cast<double>(Ask(*family_->connection, std::move(ask)));
  } catch (const Error& error) {
    Refuse(*family_, kDoing, error.message());
  }
}

}  // namespace tpb::stub
