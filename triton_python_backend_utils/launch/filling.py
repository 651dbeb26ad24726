"""Makes an environment out of an archive, at the place where it stays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import processes
from .archives import unpack
from .interpreters import PYTHONS, does_not_start, find_python
from .limits import Limits
from .problem import EnvironmentProblem, size_text
from .progress import Progress, timed

LIMIT_S = 600.0


@dataclass(frozen=True)
class Filled:
    """The environment, and what came out of its archive."""

    prefix: Path
    bytes: int
    files: int


def fill(
    folder: Path,
    archive: Path,
    file: BinaryIO,
    limits: Limits,
    progress: Progress,
    phases: list[tuple[str, float]],
) -> Filled:
    """Unpacks the open `file` into the new folder and has conda-unpack adapt it, if that is part of it.

    Raises:
        EnvironmentProblem: it cannot be unpacked, holds no environment, or conda-unpack fails.
    """
    progress.step(f"unpacks {archive} ({size_text(os.fstat(file.fileno()).st_size)}) into {folder}")
    with timed("unpacking", phases):
        unpacked = unpack(
            file, archive, folder, limits, lambda done, total: progress.advance("unpacking", done, total)
        )
    prefix = find_prefix(folder, archive)
    script = prefix / "bin" / "conda-unpack"
    if script.is_file():
        with timed("conda-unpack", phases):
            _conda_unpack(prefix, script, archive, progress)
    return Filled(prefix, unpacked.bytes, unpacked.files)


def find_prefix(folder: Path, archive: Path) -> Path:
    """The environment in what the archive held: all of it, or the one folder at its top.

    Raises:
        EnvironmentProblem: there is none.
    """
    at_top = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    for prefix in [folder, *(at_top if len(at_top) == 1 else [])]:
        if any(os.path.lexists(prefix / "bin" / name) for name in PYTHONS):
            try:
                find_python(prefix)
                return prefix
            except EnvironmentProblem as problem:
                raise EnvironmentProblem(f"{archive} holds no environment that works: {problem}") from problem
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    raise EnvironmentProblem(
        f"{archive} holds no Python environment: there is no bin/python3 and no bin/python, neither at its "
        f"top nor in the only folder at its top (what is there: {there}). Pack one with "
        "`triton-python env pack` or conda-pack"
    )


def _conda_unpack(prefix: Path, script: Path, archive: Path, progress: Progress) -> None:
    """Runs what writes the place of the environment into its files."""
    python = find_python(prefix)
    environ = {**os.environ, "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environ["PATH"] = os.pathsep.join([str(prefix / "bin"), *filter(None, [environ.get("PATH")])])
    environ.pop("PYTHONHOME", None)
    try:
        ended = processes.run([python, script], environ, progress.alive, LIMIT_S, folder=prefix)
    except OSError as error:
        reason = does_not_start(python, error)
        raise EnvironmentProblem(f"{archive} cannot be adapted to its place: {reason}") from error
    except processes.Overdue:
        raise EnvironmentProblem(
            f"{archive} cannot be adapted to its place: its bin/conda-unpack still ran after "
            f"{LIMIT_S:.0f} s. Pack it again, with a newer conda-pack"
        ) from None
    if ended.status != 0:
        words = (ended.output + ended.errors).decode("utf-8", "replace").strip()[-1500:]
        raise EnvironmentProblem(
            f"{archive} cannot be adapted to its place: its bin/conda-unpack failed ({ended.how()}): "
            f"{words}\nPack it again, with a newer conda-pack"
        )
