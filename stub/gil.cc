#include "stub/gil.h"

#include <unistd.h>

namespace tpb::stub {
namespace {

// Before 3.14 Python ends a thread that comes back too late, which unwinds its stack: through Python objects
// that nobody may touch any more. It gets no further than this. Later Pythons hang such a thread, as here.
class HangIfUnwound {
 public:
  HangIfUnwound() = default;
  HangIfUnwound(const HangIfUnwound&) = delete;
  HangIfUnwound& operator=(const HangIfUnwound&) = delete;
  HangIfUnwound(HangIfUnwound&&) = delete;
  HangIfUnwound& operator=(HangIfUnwound&&) = delete;
  ~HangIfUnwound() {
    while (unwound_) {
      ::pause();
    }
  }
  void Dismiss() noexcept { unwound_ = false; }

 private:
  bool unwound_ = true;
};

}  // namespace

// Through a function that may not throw, some C++ libraries unwind without any clean-up; so it may, says the
// signature, and it is not made part of one.
GilReleased::~GilReleased() noexcept(false) {
  HangIfUnwound hang;
  PyEval_RestoreThread(state_);
  hang.Dismiss();
}

}  // namespace tpb::stub
