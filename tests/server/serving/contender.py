"""The Python backend under test: ours, or NVIDIA's own with `--backend upstream`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OURS = "ours"
UPSTREAM = "upstream"


@dataclass(frozen=True)
class Contender:
    """What a server needs in order to run models with a backend."""

    name: str
    directory: Path
    """For --backend-directory."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """For the server, beside what is set already."""
    is_sanitized: bool = False

    @property
    def is_ours(self) -> bool:
        return self.name == OURS

    def copy(self, folder: Path) -> Path:
        """A folder for --backend-directory, in this one that is not there yet, to add others to."""
        if self.is_ours:
            shutil.copytree(self.directory, folder, symlinks=True)
            return folder
        # NVIDIA's find their libraries above the folder.
        above = self.directory.parents[2]
        shutil.copytree(above, folder, symlinks=True)
        return folder / self.directory.relative_to(above)


@cache
def upstream() -> Contender:
    """NVIDIA's backend as `make bench` sets it up, from the package index, into the same folder.

    It is of Triton 2.51 and needs a Python with a shared libpython and numpy 1.x.
    """
    benchmarks = str(ROOT / "benchmarks")
    if benchmarks not in sys.path:
        sys.path.append(benchmarks)
    from comparison.backends import server_library
    from comparison.upstream import set_up

    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    backend = set_up(folder, server_library(), folder / "log.txt").backend
    environment = backend.environment([])
    names = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
    return Contender(UPSTREAM, backend.directory, {name: environment[name] for name in names})
