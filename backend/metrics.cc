#include "backend/metrics.h"

#include <array>
#include <string>

#include "ipc/wire.h"

namespace tpb::backend {
namespace {

std::array<Metric::Label, 3> Build(const std::string& backend) {
  return {
      {{"backend", backend}, {"version", TPB_VERSION}, {"wire_version", std::to_string(ipc::kWireVersion)}}};
}

}  // namespace

Metrics::Metrics(const std::string& backend) : build_info_(build_, Build(backend)) { build_info_.Show(1); }

}  // namespace tpb::backend
