"""The folders of unpacked environments: what lies in them, who uses them, and their removal.

    <digest>/env/           the environment; <digest> stands for the first 32 digits of an archive's SHA-256
    <digest>/complete.json  written last: all of it is there
    <digest>.lock           locked by who uses the environment, exclusively by who changes it

What has no complete.json belongs to nobody: whoever holds the exclusive lock removes it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .hashing import write_json
from .locks import is_current, open_lock, try_lock
from .removal import remove_tree

DIGITS = 32


@dataclass(frozen=True)
class Complete:
    """What complete.json says."""

    digest: str  # all 64 digits
    archive: str  # as it was named when it was unpacked
    prefix: str  # the environment, relative to env/
    bytes: int
    files: int
    created: float


class Store:
    """One folder with environments."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """The digests that something lies here for, complete or not."""
        found = {path.name.partition(".")[0] for path in self._folder.iterdir()}
        return sorted(name for name in found if re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", name))

    def entry(self, name: str) -> Path:
        """The folder that holds env/ and complete.json."""
        return self._folder / name

    def lock_file(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def prefix(self, name: str, complete: Complete) -> Path:
        return self.entry(name) / "env" / complete.prefix

    def complete(self, name: str) -> Complete | None:
        """What is known about an environment that is there as a whole."""
        try:
            known = Complete(**json.loads((self.entry(name) / "complete.json").read_text("utf-8")))
            return known if self.prefix(name, known).is_dir() else None
        except (OSError, ValueError, TypeError):
            return None

    def set_complete(self, name: str, complete: Complete) -> None:
        """Call it with the exclusive lock, when everything else is there."""
        write_json(self.entry(name) / "complete.json", asdict(complete))

    @contextmanager
    def exclusively(self, name: str) -> Iterator[bool]:
        """Whether nobody else uses it, which stays so for as long as this lasts."""
        path = self.lock_file(name)
        fd = open_lock(path)
        try:
            yield try_lock(fd, path, exclusive=True) and is_current(fd, path)
        finally:
            os.close(fd)

    def last_used(self, name: str) -> float:
        """In seconds since the epoch."""
        return self.lock_file(name).stat().st_mtime

    def clear(self, name: str, alive: Callable[[], None]) -> None:
        """Removes all there is but the lock file. Call it with the exclusive lock.

        Raises:
            OSError: something cannot be removed; it does not count as complete any more.
        """
        (self.entry(name) / "complete.json").unlink(missing_ok=True)
        remove_tree(self.entry(name), alive)

    def remove(self, name: str, alive: Callable[[], None], only_incomplete: bool = False) -> bool:
        """Removes an environment, unless somebody uses it; says whether it is gone.

        Raises:
            OSError: as `clear`.
        """
        with self.exclusively(name) as is_ours:
            if not is_ours or (only_incomplete and self.complete(name) is not None):
                return False
            self.clear(name, alive)
            # Last: who waits for the lock finds out that the file is not the one, and starts over.
            self.lock_file(name).unlink(missing_ok=True)
            return True
