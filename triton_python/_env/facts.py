"""What there is to know about an environment before it is packed, asked of its own interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_python._env.probe import MARK
from triton_python._errors import TritonPythonError
from triton_python._paths import absolute_path

OLDEST_PYTHON = (3, 9)
PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 120
NAMES = ("python3", "python")
WHAT_CAN_BE_PACKED = (
    "give the folder of a conda environment, of a virtual environment, or of a Python, or the path of its "
    "python program"
)


@dataclass(frozen=True)
class Environment:
    """A Python with its packages."""

    implementation: str
    version: tuple[int, ...]
    executable: str
    prefix: Path
    base_prefix: Path
    base_executable: Path
    ext_suffix: str
    site_folders: list[Path]
    libc: str
    machine: str
    numpy: str
    numpy_error: str
    runtime: str
    """The version of our package that is installed in it; empty if there is none that runs models."""
    runtime_error: str

    @property
    def is_conda(self) -> bool:
        return (self.prefix / "conda-meta").is_dir()

    @property
    def is_virtual(self) -> bool:
        """Whether it borrows its interpreter and standard library from another prefix."""
        return self.prefix != self.base_prefix

    @property
    def dotted_version(self) -> str:
        return ".".join(str(part) for part in self.version)


@dataclass(frozen=True)
class BasePython:
    """The interpreter beneath an environment: its program and standard library."""

    prefix: Path
    name: str
    """`python3.12`: the file's name in the packed `bin`."""
    stdlib_folders: list[Path]
    site_folders: list[str]
    """Where it looks for packages, as paths below its prefix, first things first."""
    libraries: list[Path]
    """Every shared library that it has loaded, with those of all modules of the standard library."""


def look_at(place: str) -> Environment:
    """The environment at `place`; the one that runs this if it is empty.

    Raises:
        TritonPythonError: there is none, it does not answer, or models cannot run in it.
    """
    python = interpreter_of(place)
    told = ask(python, "environment")
    told.update({name: Path(told[name]) for name in ("prefix", "base_prefix", "base_executable")})
    told.update(
        version=tuple(told["version"]), site_folders=[Path(folder) for folder in told["site_folders"]]
    )
    found = Environment(**told)
    _check(found)
    return found


def look_beneath(environment: Environment) -> BasePython:
    """The interpreter that `environment` is made of. Raises TritonPythonError if it does not answer."""
    told = ask(environment.base_executable, "base")
    prefix = Path(told["prefix"])
    folders = [Path(folder) for folder in told["stdlib_folders"]]
    for folder in folders:
        if prefix not in folder.parents:
            raise TritonPythonError(
                f"{environment.base_executable} cannot be packed: its standard library {folder} does not lie "
                f"below its prefix {prefix}; choose another Python"
            )
    return BasePython(
        prefix=prefix,
        name=told["name"],
        stdlib_folders=folders,
        site_folders=[folder.split("/", 2)[2] for folder in told["site_folders"]],
        libraries=[Path(library) for library in told["libraries"]],
    )


def interpreter_of(place: str) -> Path:
    """The python program that `place` names, links not followed."""
    if not place:
        return Path(sys.executable)
    path = absolute_path(place)
    if path.is_dir():
        for name in NAMES:
            if os.access(path / "bin" / name, os.X_OK):
                return path / "bin" / name
        raise TritonPythonError(
            f"{path} is not a Python environment: it has no bin/python3; {WHAT_CAN_BE_PACKED}"
        )
    if not path.is_file() or not os.access(path, os.X_OK):
        what = "is not an executable file" if path.exists() else "does not exist"
        raise TritonPythonError(f"{path} {what}: {WHAT_CAN_BE_PACKED}")
    return path


def clean_environ() -> dict[str, str]:
    """For an interpreter that is to show what it is by itself, not what this shell has set up."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}


def ask(python: Path, what: str) -> dict[str, Any]:
    # -I: neither the current folder nor user-site packages are part of an environment.
    options = ["-I", "-B", "-S"] if what == "base" else ["-I", "-B"]
    try:
        result = subprocess.run(
            [python, *options, PROBE, what],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=clean_environ(),
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TritonPythonError(f"{python} did not answer within {PROBE_SECONDS} s") from error
    except OSError as error:
        raise TritonPythonError(
            f"{python} cannot be started ({error.strerror}): {WHAT_CAN_BE_PACKED}"
        ) from error
    answers = [line[len(MARK) :] for line in result.stdout.splitlines() if line.startswith(MARK)]
    if not answers:
        said = result.stderr.strip().splitlines() or ["it said nothing"]
        raise TritonPythonError(
            f"{python} does not answer as a Python does (status {result.returncode}: {said[-1]}): "
            f"{WHAT_CAN_BE_PACKED}"
        )
    told: dict[str, Any] = json.loads(answers[-1])
    return told


def _check(found: Environment) -> None:
    if found.implementation != "cpython":
        raise TritonPythonError(
            f"{found.executable} is {found.implementation}, and models run in CPython only: choose another"
        )
    if found.version < OLDEST_PYTHON:
        raise TritonPythonError(
            f"{found.executable} is Python {found.dotted_version}, and models need 3.9 or newer: make the "
            "environment anew with a newer Python"
        )
    if found.numpy_error:
        raise TritonPythonError(
            f"{found.prefix} cannot import numpy, which models need ({found.numpy_error}): install it with "
            f"{found.executable} -m pip install 'numpy>=1.19', and pack again"
        )
