#include "ipc/memfd.h"

#include <linux/memfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "ipc/error.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace tpb::ipc {

UniqueFd OpenMemfd(const std::string& name) {
  // Kernels before 6.3 refuse the flag with EINVAL; those that demand it (vm.memfd_noexec=2) refuse its
  // absence.
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = static_cast<int>(::syscall(SYS_memfd_create, name.c_str(), flags | MFD_NOEXEC_SEAL));
  if (fd < 0 && errno == EINVAL) {
    fd = static_cast<int>(::syscall(SYS_memfd_create, name.c_str(), flags));
  }
  if (fd < 0) {
    ThrowErrno("Unable to create shared memory '" + name + "' (memfd_create)", errno);
  }
  return UniqueFd(fd);
}

}  // namespace tpb::ipc
