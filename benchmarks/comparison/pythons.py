"""Finds a Python for NVIDIA's backend: its stub embeds libpython, so it needs the shared library of one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The newest minor version has no numpy 1.x, without which NVIDIA's stub answers nothing.
MINORS = (12, 11, 10, 9, 8)
QUESTION = """
import json, sys, sysconfig
print(json.dumps({
    "minor": sys.version_info[1], "version": sys.version.split()[0], "prefix": sys.base_prefix,
    "folders": [sysconfig.get_config_var("LIBDIR"), sys.base_prefix + "/lib"],
}))
"""


@dataclass(frozen=True)
class Python:
    """An installed Python that has a shared library."""

    executable: Path
    minor: int
    version: str
    prefix: Path
    library_folder: Path

    @property
    def numpy(self) -> str:
        """The newest numpy that works with NVIDIA's stub."""
        return "numpy==1.26.4" if self.minor >= 9 else "numpy==1.24.4"


def shared_pythons() -> list[Python]:
    """Those of this machine, the best first: of the same minor version as this one, then the newer ones."""
    found: dict[Path, Python] = {}
    for candidate in _candidates():
        python = _ask(candidate)
        if python is not None:
            found.setdefault(python.prefix, python)
    usable = [python for python in found.values() if python.minor in MINORS]
    return sorted(usable, key=lambda python: (python.minor != sys.version_info[1], -python.minor))


def _candidates() -> Iterator[Path]:
    base = Path(sys.base_prefix)
    yield base / "bin" / "python3"
    for minor in MINORS:
        on_path = shutil.which(f"python3.{minor}")
        if on_path:
            yield Path(on_path)
        yield Path(f"/usr/bin/python3.{minor}")
    # Where installations lie side by side, as those of pyenv and uv do.
    yield from sorted(base.parent.glob("*/bin/python3"))


def _ask(executable: Path) -> Python | None:
    try:
        answer = subprocess.run(
            [executable, "-I", "-c", QUESTION], capture_output=True, text=True, timeout=30, check=True
        )
        facts = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # absent, or a shim that leads nowhere
    library = f"libpython3.{facts['minor']}.so.1.0"
    for folder in facts["folders"]:
        if folder and (Path(folder) / library).is_file():
            prefix = Path(facts["prefix"])
            own = prefix / "bin" / f"python3.{facts['minor']}"
            return Python(own, facts["minor"], facts["version"], prefix, Path(folder))
    return None
