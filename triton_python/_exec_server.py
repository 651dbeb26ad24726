"""Becomes the server: `python -I -S _exec_server.py PARENT_PID PROGRAM ARGUMENTS...` ends in `exec`.

The server must never outlive the command that started it, not even when that is killed with SIGKILL.
The kernel gives that through PR_SET_PDEATHSIG, which survives `exec`. It is set here, in a fresh process
with one thread, because the usual place for it, `preexec_fn`, runs Python code between fork and exec,
which may deadlock as soon as the parent has threads. Standard library only: it runs without site-packages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    # SIGTERM, not SIGKILL: the server then unloads its models as it does on every other stop.
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        sys.exit("triton-python: the kernel refused PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        sys.exit(1)  # The parent died before the line above took effect.
    # A process group of its own: Ctrl-C reaches triton-python only, which passes it on exactly once.
    os.setpgid(0, 0)
    # exec keeps both: the signals that the parent blocks to wait for them, and those that Python ignores.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main()
