"""Runs a program to its end, with signs of life while it runs and a limit on how long it may."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# How long it may take, where the caller says nothing else.
LIMIT_S = 600.0
# Of what it writes to each of its two outputs; the rest is read and forgotten.
LONGEST_OUTPUT = 64 << 20
TICK_S = 0.2


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status, or the negative number of the signal that killed it."""

    status: int
    output: bytes
    errors: bytes

    def how(self) -> str:
        """`exit status 1`, or `killed by signal 9`."""
        return f"exit status {self.status}" if self.status >= 0 else f"killed by signal {-self.status}"

    def last_words(self) -> str:
        """The last line that it wrote to stderr, else to stdout."""
        lines = (self.errors.strip() or self.output.strip()).decode("utf-8", "replace").splitlines()
        return lines[-1].strip().rstrip(".") if lines else "it printed nothing"


class Overdue(Exception):
    """The program has been killed, because it took longer than it may."""


def run(
    command: Sequence[str | bytes | os.PathLike[str]],
    environ: Mapping[str, str],
    alive: Callable[[], None],
    limit_s: float = LIMIT_S,
    folder: Path | None = None,
) -> Ended:
    """Runs `command` in `folder`; it stays in our process group, so that who ends us ends it too.

    Raises:
        OSError: it cannot be started.
        Overdue: it still ran after `limit_s` seconds.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        cwd=folder,
    )
    with process:
        try:
            output, errors = _watch(process, alive, time.monotonic() + limit_s)
        except BaseException:
            _end(process)
            raise
    return Ended(process.returncode, output, errors)


def _watch(
    process: subprocess.Popen[bytes], alive: Callable[[], None], deadline: float
) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for fd in kept:
            selector.register(fd, selectors.EVENT_READ)
        while True:
            alive()
            if not selector.get_map():
                _wait_a_tick(process)
            has_ended = process.poll() is not None
            # What it left running may hold the pipes open for ever: past its end, only what is there already.
            _read(selector, kept, 0 if has_ended else TICK_S)
            if has_ended:
                return bytes(kept[process.stdout.fileno()]), bytes(kept[process.stderr.fileno()])
            if time.monotonic() > deadline:
                raise Overdue


def _wait_a_tick(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TICK_S)


def _read(selector: selectors.BaseSelector, kept: dict[int, bytearray], wait_s: float) -> None:
    while selector.get_map():
        ready = selector.select(wait_s)
        if not ready:
            return
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            kept[key.fd] += data[: LONGEST_OUTPUT - len(kept[key.fd])]
            if not data:
                selector.unregister(key.fd)
        if wait_s:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and all that it has started."""
    for pid in [*_descendants(process.pid), process.pid]:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - no Path per entry
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text("ascii", "replace")
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found = list(children.get(ancestor, []))
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found
