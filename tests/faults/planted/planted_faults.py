"""Faults that a process of a model commits against itself. Nothing here needs numpy or the package of models.

A switch, the file `$FAULT_SWITCHES/<model>/<phase>`, names the fault. One process takes it, once, and notes
its number in the file `happened`.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# `stub_main.py <socket> <model> <server>`; the model finds other arguments.
SOCKET, MODEL = int(sys.argv[1]), sys.argv[2]
SWITCHES = Path(os.environ["FAULT_SWITCHES"], MODEL)
A_DAY = 86400
LIMITED_SECONDS = 1.0


def point(phase: str) -> None:
    """Commits the fault that is planned for this phase, if there is one."""
    taken = SWITCHES / f"taken-{os.getpid()}"
    try:
        (SWITCHES / phase).rename(taken)
    except OSError:
        return
    fault = taken.read_text()
    taken.write_text(str(os.getpid()))
    taken.rename(SWITCHES / "happened")
    FAULTS[fault](phase)


def kill(phase: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash(phase: str) -> None:
    import ctypes

    ctypes.string_at(0)


def stand_still(phase: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def leave(phase: str) -> NoReturn:
    os._exit(7)


def fail(phase: str) -> NoReturn:
    raise RuntimeError("planned exception")


def hang(phase: str) -> None:
    if phase == "thread":
        import ctypes

        ctypes.PyDLL(None).sleep(A_DAY)  # no other thread runs Python any more
    time.sleep(A_DAY)


def spoil(phase: str) -> None:
    if phase in ("handshake", "attach"):
        os.write(SOCKET, b"rubbish")
        time.sleep(A_DAY)
    import ctypes
    import random

    rubbish = bytes(random.Random(phase).choices(range(256), k=128 << 10))
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:" in line]
    # The rings are where the memory begins; behind them lie tensors, which are a model's own business.
    for addresses, rights, offset, *_ in mapped:
        if rights[1] == "w" and int(offset, 16) == 0:
            start, end = (int(address, 16) for address in addresses.split("-"))
            ctypes.memmove(start, rubbish, min(end - start, len(rubbish)))


def have_no_memory(phase: str) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit(resource.RLIMIT_AS, pages * resource.getpagesize() + (1 << 20), phase)
    if phase not in ("thread", "handshake"):
        bytearray(64 << 20)


def have_no_files(phase: str) -> None:
    limit(resource.RLIMIT_NOFILE, 3, phase)
    if phase not in ("thread", "handshake"):
        Path("/dev/null").read_bytes()


def limit(what: int, value: int, phase: str) -> None:
    """For a second; for ever, where the process does not outlive it."""
    before = resource.getrlimit(what)
    if phase != "handshake":
        # Started now, because it would not get its stack any more.
        timer = threading.Timer(LIMITED_SECONDS, resource.setrlimit, (what, before))
        timer.daemon = True
        timer.start()
    resource.setrlimit(what, (value, before[1]))


FAULTS: dict[str, Callable[[str], None]] = {
    "SIGKILL": kill,
    "SIGSEGV": crash,
    "SIGSTOP": stand_still,
    "exit": leave,
    "exception": fail,
    "hang": hang,
    "garbage": spoil,
    "ENOMEM": have_no_memory,
    "EMFILE": have_no_files,
}
