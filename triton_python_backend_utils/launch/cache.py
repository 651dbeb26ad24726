"""Unpacked environments, shared by all models and processes of a user: one for each content of an archive."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .acquisition import Acquisition, CachedEnvironment
from .cache_folder import SETTING, default_directory, make_usable
from .hashing import Changed, KnownArchives
from .limits import Limits
from .problem import EnvironmentProblem, reason_of
from .progress import Progress
from .store import Complete, Store

__all__ = ["DEFAULT_MAX_BYTES", "CachedEnvironment", "Entry", "EnvironmentCache", "default_directory"]

DEFAULT_MAX_BYTES = 64 << 30

_TRIES = 3  # for an archive that changes while it is read


@dataclass(frozen=True)
class Entry:
    """An unpacked environment. `created` and `last_used` are seconds since the epoch."""

    digest: str  # the first 32 digits of the archive's SHA-256, the name of its folder
    archive: Path  # as it was named when it was unpacked
    bytes: int
    files: int
    created: float
    last_used: float
    in_use: bool


class EnvironmentCache:
    """The environments in one folder.

    Any number of processes may use it at the same time; one that dies leaves nothing that counts.
    """

    def __init__(self, directory: Path, max_bytes: int | None = None, limits: Limits | None = None) -> None:
        """`max_bytes` bounds what is kept (None: 64 GiB; 0: no bound); what is in use is kept in any case.

        Raises:
            EnvironmentProblem: nothing can be kept in that folder, or nothing that is safe to run.
        """
        self.directory = directory
        self.max_bytes = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
        self._limits = limits or Limits()
        environments = directory / "environments"
        for folder in (directory, environments, environments / "known"):
            refusal = make_usable(folder)
            if refusal is not None:
                raise EnvironmentProblem(
                    f"environments cannot be unpacked into {directory}: {folder} {refusal}. "
                    f"Choose another folder with {SETTING}"
                )
        self._store = Store(environments)
        self._known = KnownArchives(environments / "known")

    def acquire(self, archive: Path, progress: Progress) -> CachedEnvironment:
        """The environment that the archive holds, unpacked if it is not there yet.

        Raises:
            EnvironmentProblem: it cannot be read or unpacked, or holds no environment.
        """
        for _ in range(_TRIES):
            try:
                with archive.open("rb", buffering=0) as file, suppress(Changed):
                    work = Acquisition(self._store, self._known, self._limits, archive, file, progress)
                    found = work.run()
                    if work.has_unpacked:
                        self._make_room(progress)
                    return found
            except OSError as error:
                raise EnvironmentProblem(
                    f"{archive} cannot be unpacked into {self.directory}: {reason_of(error)}"
                ) from error
        raise EnvironmentProblem(
            f"{archive} changes while it is read. Load the model again when the file is complete"
        )

    def entries(self) -> list[Entry]:
        """All environments that are there, the least recently used first."""
        found = []
        for name in self._store.names():
            if self._store.complete(name) is None:
                continue
            with self._store.exclusively(name) as is_ours:
                complete = self._store.complete(name)  # it may have gone meanwhile
                if complete is not None:
                    found.append(self._entry(name, complete, in_use=not is_ours))
        return sorted(found, key=lambda entry: entry.last_used)

    def prune(
        self, max_bytes: int | None = None, everything: bool = False, progress: Progress | None = None
    ) -> list[Entry]:
        """Removes environments that nobody uses, the least recently used first, and what crashes left.

        They go until those that stay are at most `max_bytes` large (None: the cache's own bound; 0: no
        bound), or all of them where `everything` is true. Returns those that were removed.

        Raises:
            EnvironmentProblem: one cannot be removed.
        """
        bound = self.max_bytes if max_bytes is None else max_bytes
        alive = (progress or Progress()).alive
        removed = []
        try:
            self._known.forget_missing()
            entries = self.entries()
            total = sum(entry.bytes for entry in entries)
            for entry in entries:
                if not everything and (bound == 0 or total <= bound):
                    break
                if not entry.in_use and self._store.remove(entry.digest, alive):
                    total -= entry.bytes
                    removed.append(entry)
            for name in self._store.names():
                self._store.remove(name, alive, only_incomplete=True)
        except OSError as error:
            raise EnvironmentProblem(
                f"an environment in {self.directory} cannot be removed: {error}. Look at what is there, "
                "and remove it by hand while no server runs"
            ) from error
        return removed

    def _make_room(self, progress: Progress) -> None:
        try:
            self.prune(progress=progress)
        except EnvironmentProblem as problem:
            progress.warn(str(problem))

    def _entry(self, name: str, complete: Complete, in_use: bool) -> Entry:
        return Entry(
            name,
            Path(complete.archive),
            complete.bytes,
            complete.files,
            complete.created,
            self._store.last_used(name),
            in_use,
        )
