"""Tells the log what a slow start spends its time on: which import, and for how long.

A thread looks at the main thread's stack now and then, and only once a phase takes longer than half a second:
a quick start pays for a thread that never wakes, and no import is hooked.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from ._core import Logger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

__all__ = ["begin_phase", "end_phase", "note_phases", "report_start"]

WORTH_TELLING = 1.0  # s of a start, below which nothing is said
SHORTEST = 0.1  # s of a part that is named
LOOK_EVERY = 0.1  # s
TELL_AFTER = 5.0  # s until a line says what goes on, then after twice as long, and so on

_phases: dict[str, float] = {}
_current: _Phase | None = None


class _Phase:
    """One part of a start; its time goes to the imports that run in it, and the rest to itself."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._main = threading.get_ident()
        self._over = threading.Event()
        self._started = self._counted = time.monotonic()
        self._imports: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, name="tpb-slow-start", daemon=True)
        self._thread.start()

    def end(self) -> dict[str, float]:
        """The seconds of each part."""
        self._over.set()
        self._thread.join()
        own = time.monotonic() - self._started - sum(self._imports.values())
        return {
            **{f"importing {name}": seconds for name, seconds in self._imports.items()},
            self._name: max(own, 0.0),
        }

    def _watch(self) -> None:
        if self._over.wait(WORTH_TELLING / 2):
            return
        tell_at = TELL_AFTER
        # What is being imported now most likely is since the phase began.
        running = self._importing()
        over = False
        while not over:
            over = self._over.wait(LOOK_EVERY)
            now = time.monotonic()
            if running:
                self._imports[running] = self._imports.get(running, 0.0) + now - self._counted
            self._counted = now
            running = self._importing()
            if not over and now - self._started >= tell_at:
                tell_at *= 2
                doing = f"importing {running}" if running else self._name
                Logger.log_info(f"still starting after {now - self._started:.0f} s: {doing}")

    def _importing(self) -> str:
        """The package whose import the main thread is in, the outermost one; or nothing."""
        frame: FrameType | None = sys._current_frames().get(self._main)
        found = ""
        while frame is not None:
            code = frame.f_code
            if code.co_name == "_find_and_load" and code.co_filename == "<frozen importlib._bootstrap>":
                found = str(frame.f_locals.get("name", found))
            frame = frame.f_back
        return found.partition(".")[0]


def begin_phase(name: str) -> None:
    """From now on the main thread, which calls this, is busy with `name`."""
    global _current
    _current = _Phase(name)


def end_phase() -> None:
    """What began last is over."""
    global _current
    phase, _current = _current, None
    if phase is not None:
        note_phases(phase.end().items())


def note_phases(phases: Iterable[tuple[str, float]]) -> None:
    """Add parts of this start, each with its seconds."""
    for name, seconds in phases:
        _phases[name] = _phases.get(name, 0.0) + seconds


def report_start(what: str) -> None:
    """Say what `what`, which is ready now, has spent its time on, if that is worth a line."""
    total = sum(_phases.values())
    parts = [f"{name} {seconds:.1f} s" for name, seconds in _phases.items() if seconds >= SHORTEST]
    _phases.clear()
    if total >= WORTH_TELLING:
        Logger.log_info(f"'{what}' took {total:.1f} s to start: {', '.join(parts)}")
