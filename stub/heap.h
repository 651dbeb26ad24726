// The heap of a stub process. glibc hands large blocks back to the kernel as soon as they are freed; a model
// whose every request makes arrays of the same size would pay for fresh, zeroed pages each time.
#pragma once

namespace tpb::stub {

// From here on what is freed stays with the process until TrimHeap(). For processes that are ours alone; an
// operator's own settings in the environment are left as they are.
void KeepHeap() noexcept;

// Gives free heap memory back to the kernel, if KeepHeap() has kept it. Any thread, without the GIL.
void TrimHeap() noexcept;

}  // namespace tpb::stub
