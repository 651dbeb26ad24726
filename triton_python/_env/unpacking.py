"""Unpacks an archive with the very code of the servers, into a cache that lives for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triton_python._errors import TritonPythonError
from triton_python._progress import Progress


@contextmanager
def unpacked(archive: Path, scratch: Path) -> Iterator[tuple[Path, Path, str]]:
    """The prefix, its python and the archive's digest, as long as the context is open.

    Raises:
        TritonPythonError: a server could not unpack it.
    """
    # Not at the top: the package brings numpy, which the other commands do without.
    from triton_python_backend_utils.launch.cache import EnvironmentCache
    from triton_python_backend_utils.launch.interpreters import find_python
    from triton_python_backend_utils.launch.problem import EnvironmentProblem
    from triton_python_backend_utils.launch.progress import Progress as Hearer

    class Shown(Hearer):
        def advance(self, phase: str, done: int, total: int) -> None:
            progress.update(done, total)

    try:
        with Progress("trying it in a clean process") as progress:
            cached = EnvironmentCache(scratch, 0).acquire(archive, Shown())
        try:
            yield cached.prefix, find_python(cached.prefix), cached.digest
        finally:
            os.close(cached.lock)
    except EnvironmentProblem as problem:
        raise TritonPythonError(
            f"the archive was written and a server could not use it, so it was deleted: {problem}"
        ) from problem
