// The GIL, given up for a while.
#pragma once

#include <pybind11/pybind11.h>

namespace tpb::stub {

// Without the GIL while this lives. A thread that comes back when the interpreter ends, as daemon threads do,
// is never let in again: it sleeps here until the process is gone.
class GilReleased {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;
  GilReleased(GilReleased&&) = delete;
  GilReleased& operator=(GilReleased&&) = delete;
  ~GilReleased();

 private:
  PyThreadState* const state_;
};

}  // namespace tpb::stub
