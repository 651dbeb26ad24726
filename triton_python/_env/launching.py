"""What the launcher of models does, done here: the same code resolves, unpacks and activates environments.

Imported late: the package of that code brings numpy, which the other commands do without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from triton_python._doctor import Subject
from triton_python._env.model import Model
from triton_python._paths import absolute_path
from triton_python._progress import Progress
from triton_python_backend_utils.launch.cache import EnvironmentCache
from triton_python_backend_utils.launch.interpreters import find_python
from triton_python_backend_utils.launch.problem import EnvironmentProblem
from triton_python_backend_utils.launch.progress import Progress as Listener
from triton_python_backend_utils.launch.resolve import Settings, core_directories, resolve

__all__ = ["EnvironmentProblem", "Start", "core_directories", "start_of", "unpacked"]


class _Shown(Listener):
    """Shows the phases of the work, a bar for each."""

    def __init__(self) -> None:
        self._phase = ""
        self._bar: Progress | None = None

    def advance(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase:
            self.close()
            self._phase, self._bar = phase, Progress(phase)
            self._bar.__enter__()
        if self._bar is not None:
            self._bar.update(done, total)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


@contextmanager
def _shown() -> Iterator[_Shown]:
    shown = _Shown()
    try:
        yield shown
    finally:
        shown.close()


@dataclass(frozen=True)
class Start:
    """How a model's process would be started. The environment is there until it is closed."""

    python: Path
    reason: str
    environ: Mapping[str, str]
    packed: bool
    """Whether it comes out of an archive."""
    core_folders: Sequence[Path]
    warnings: Sequence[str]
    locks: Sequence[int]

    def close(self) -> None:
        for lock in self.locks:
            os.close(lock)


def start_of(model: Model, subject: Subject, cache: str) -> Start:
    """What the launcher would do for `model`; an archive is unpacked for that.

    Raises:
        EnvironmentProblem: the model's environment cannot be used.
        TritonPythonError: the model asks for none, and there is no default Python.
    """
    config = model.config
    choice = subject.choice
    settings = Settings(
        cache_directory=absolute_path(cache) if cache else None, default_python=Path(choice.path)
    )
    with _shown() as progress:
        found = resolve(config, model.folder, settings, progress, os.environ)
    return Start(
        python=found.python,
        reason=found.reason if found.facts is not None else _default_reason(subject),
        environ=found.environ,
        packed=bool(found.keep_open),
        core_folders=found.core_directories,
        warnings=found.warnings,
        locks=found.keep_open,
    )


def _default_reason(subject: Subject) -> str:
    choice = subject.choice
    reason = f"{choice.reason}, because the model asks for no environment"
    if not subject.python and choice.probe is not None and not subject.same_environment(choice.probe):
        reason += f"; `triton-python serve` without --python runs it in {sys.executable}"
    return reason


@contextmanager
def unpacked(archive: Path, scratch: Path) -> Iterator[tuple[Path, Path, str]]:
    """The prefix, its python and the digest of an archive, unpacked below `scratch` as servers do.

    Raises:
        EnvironmentProblem: a server could not use it.
    """
    with _shown() as progress:
        cached = EnvironmentCache(scratch, 0).acquire(archive, progress)
    try:
        yield cached.prefix, find_python(cached.prefix), cached.digest
    finally:
        os.close(cached.lock)
