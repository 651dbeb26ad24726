"""`triton-python env list` and `prune`: the environments that were unpacked for models on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from triton_python._errors import TritonPythonError
from triton_python._paths import absolute_path
from triton_python_backend_utils.launch.cache import Entry, EnvironmentCache
from triton_python_backend_utils.launch.cache_folder import candidates
from triton_python_backend_utils.launch.problem import EnvironmentProblem

__all__ = ["Entry", "Pruned", "cache_at", "prune", "used"]


@dataclass(frozen=True)
class Pruned:
    """What became of the unpacked environments."""

    removed: list[Entry]
    left: list[Entry]

    @property
    def freed_bytes(self) -> int:
        return sum(entry.bytes for entry in self.removed)


def cache_at(place: str) -> EnvironmentCache | None:
    """The cache in the folder `place`, by default where servers have it; None if nothing was unpacked there.

    Raises:
        TritonPythonError: it cannot be used.
    """
    folders = [absolute_path(place)] if place else candidates()
    there = [folder for folder in folders if _is_there(folder)]
    if not there:
        return None
    try:
        return EnvironmentCache(there[0])
    except EnvironmentProblem as problem:
        raise TritonPythonError(str(problem)) from problem


def prune(cache: EnvironmentCache, max_bytes: int | None) -> Pruned:
    """Removes what nobody uses, until what stays is at most so large; all of it for None."""
    removed = cache.prune(everything=True) if max_bytes is None else cache.prune(max_bytes)
    return Pruned(removed, cache.entries())


def used(entry: Entry) -> str:
    """When it was used last, in the time of this machine."""
    return datetime.fromtimestamp(entry.last_used, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")


def _is_there(folder: Path) -> bool:
    try:
        return (folder / "environments").is_dir()
    except OSError:
        return False
