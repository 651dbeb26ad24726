#include "stub/gil.h"

#include <cxxabi.h>
#include <unistd.h>

namespace tpb::stub {

GilReleased::~GilReleased() {
  try {
    PyEval_RestoreThread(state_);
  } catch (const abi::__forced_unwind&) {
    // Before 3.14 Python ends the thread, which would unwind its stack: through this destructor, which may
    // not throw, and then through Python objects that nobody may touch any more. Later ones hang it, as here.
    while (true) {
      ::pause();
    }
  }
}

}  // namespace tpb::stub
