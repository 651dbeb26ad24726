"""One archive on its way to an unpacked environment: by unpacking it, or by waiting for who unpacks it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .filling import fill
from .hashing import Changed, KnownArchives, digest_of, identity
from .limits import Limits
from .locks import is_current, open_lock, try_lock
from .problem import EnvironmentProblem
from .progress import Progress, timed
from .store import DIGITS, Complete, Store

_LOOK_AGAIN_S = 0.1
_WORTH_A_LINE_S = 1.0


@dataclass(frozen=True)
class CachedEnvironment:
    """An environment that stays there for as long as the descriptor `lock` is open, in whichever process."""

    prefix: Path
    digest: str  # all 64 digits
    lock: int
    phases: list[tuple[str, float]] = field(default_factory=list)  # what was done for it, in seconds


class Acquisition:
    """Works on one archive, for one process."""

    def __init__(
        self,
        store: Store,
        known: KnownArchives,
        limits: Limits,
        archive: Path,
        file: BinaryIO,
        progress: Progress,
    ) -> None:
        """`file` is the archive, open and unbuffered: the position in it tells how far the work is."""
        self._store = store
        self._known = known
        self._limits = limits
        self._archive = archive
        self._file = file
        self._progress = progress
        self._phases: list[tuple[str, float]] = []
        self._state = identity(file.fileno())
        self._waits_since: float | None = None
        self._has_told = False
        self.has_unpacked = False

    def run(self) -> CachedEnvironment:
        """The environment; the descriptor of its shared lock is the caller's.

        Raises:
            Changed: the archive has changed meanwhile; nothing was kept.
            EnvironmentProblem: it cannot be unpacked, or holds no environment.
        """
        digest = self._digest()
        name = digest[:DIGITS]
        path = self._store.lock_file(name)
        lock = open_lock(path)
        try:
            while True:
                exclusive = self._store.complete(name) is None
                is_locked = try_lock(lock, path, exclusive)
                if not is_current(lock, path):  # it was removed before we had it
                    os.close(lock)
                    lock = open_lock(path)
                elif not is_locked:
                    self._wait()
                elif (complete := self._store.complete(name)) is None:
                    if exclusive:
                        self._fill(name, digest)
                elif not exclusive:
                    os.utime(lock)
                    self._end_of_waiting()
                    return CachedEnvironment(self._store.prefix(name, complete), digest, lock, self._phases)
                # From exclusive to shared is no single step: the next round looks again at all there is.
        except BaseException:
            os.close(lock)
            raise

    def _digest(self) -> str:
        fd, progress = self._file.fileno(), self._progress
        digest = self._known.digest(self._archive, fd)
        if digest is None:
            with timed("hashing", self._phases):
                digest = digest_of(fd, lambda done, total: progress.advance("hashing", done, total))
            self._known.remember(self._archive, self._state, digest)
        return digest

    def _wait(self) -> None:
        """For another process, which is alive: the kernel lets go of its lock when it ends."""
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        if not self._has_told and time.monotonic() > self._waits_since + _WORTH_A_LINE_S:
            self._has_told = True
            self._progress.step(f"waits for another process, which unpacks {self._archive}")
        self._progress.alive()
        time.sleep(_LOOK_AGAIN_S)

    def _end_of_waiting(self) -> None:
        if self._waits_since is not None and not self.has_unpacked:
            self._phases.append(("waiting", round(time.monotonic() - self._waits_since, 3)))

    def _fill(self, name: str, digest: str) -> None:
        """Call it with the exclusive lock. Nothing is left if it fails, of the lock neither."""
        alive = self._progress.alive
        self._store.clear(name, alive)  # what a crash has left
        self._store.entry(name).mkdir(mode=0o700)
        env = self._store.entry(name) / "env"
        try:
            filled = fill(env, self._archive, self._file, self._limits, self._progress, self._phases)
            fd = self._file.fileno()
            if identity(fd) != self._state and digest_of(fd, lambda done, total: alive()) != digest:
                raise Changed
            prefix = str(filled.prefix.relative_to(env))
            what = Complete(digest, str(self._archive), prefix, filled.bytes, filled.files, time.time())
            self._store.set_complete(name, what)
        except BaseException as error:
            hears = isinstance(error, (EnvironmentProblem, Changed, OSError))
            with suppress(OSError):
                self._store.clear(name, alive if hears else lambda: None)
                self._store.lock_file(name).unlink()
            raise
        self.has_unpacked = True
