"""Runs `triton-python doctor` on this environment, or on a copy of it that a test may break."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from command import COMMAND, Ports

import triton_python
import triton_python_backend_utils


@dataclass(frozen=True)
class Result:
    """What one check has found."""

    name: str
    status: str
    found: str
    advice: str


@dataclass(frozen=True)
class Report:
    """What the doctor has found, and how the command ended."""

    exit_status: int
    status: str
    results: dict[str, Result]

    def __getitem__(self, name: str) -> Result:
        return self.results[name]

    def unwell(self) -> set[str]:
        """The checks that are not content."""
        return {name for name, result in self.results.items() if result.status != "ok"}


def examine(
    *arguments: str, command: Sequence[str] = (COMMAND,), cwd: Path = Path("/"), **environment: str
) -> Report:
    """Runs the doctor on free ports, unless the arguments say otherwise.

    Not from the repository: Python would find our sources there.
    """
    words = [*command, "doctor", "--json", *Ports().options(), *arguments]
    result = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, cwd=cwd, check=False
    )
    assert result.returncode in (0, 1), result
    content = json.loads(result.stdout)
    results = {one["name"]: Result(**one) for one in content["checks"]}
    return Report(result.returncode, content["status"], results)


class Copy:
    """An environment that holds a copy of this distribution; everything else comes from this one."""

    def __init__(self, folder: Path) -> None:
        self.python = bare_python(folder)
        self.site = next((folder / "lib").glob("python*/site-packages"))
        distribution = importlib.metadata.distribution("triton-python-backend")
        metadata = next(file for file in distribution.files or [] if file.name == "METADATA").parent
        for original in (
            Path(triton_python.__file__).parent,
            Path(triton_python_backend_utils.__file__).parent,
            Path(str(distribution.locate_file(metadata))),
        ):
            shutil.copytree(original, self.site / original.name)
        add_packages_of_this_python(self.site)
        self.package = self.site / "triton_python_backend_utils"
        self.library = self.site / "triton_python" / "backends" / "python" / "libtriton_python.so"
        self.metadata = self.site / metadata.name / "METADATA"

    @property
    def core(self) -> Path:
        return next(self.package.glob("_core.*.so"))

    def examine(self, *arguments: str, **environment: str) -> Report:
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        command = (str(self.python), "-m", "triton_python")
        return examine(*arguments, command=command, **{"PATH": path, **environment})


def bare_python(folder: Path) -> Path:
    """A Python of this version without numpy or anything else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python3"


def add_packages_of_this_python(site: Path) -> None:
    packages = Path(str(importlib.metadata.distribution("numpy").locate_file("")))
    (site / "others.pth").write_text(f"{packages}\n")
