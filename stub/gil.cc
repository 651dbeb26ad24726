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

// A function of its own, which may throw, says its signature: in one that may not, such as a destructor, some
// C++ libraries unwind without any clean-up.
[[gnu::noinline]] void TakeGil(PyThreadState* state) {
  HangIfUnwound hang;
  PyEval_RestoreThread(state);
  hang.Dismiss();
}

}  // namespace

GilReleased::~GilReleased() { TakeGil(state_); }

}  // namespace tpb::stub
