"""Makes environments, or what looks like one, from the Pythons of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_VERSIONS = Path.home() / ".pyenv" / "versions"


def python_of(version: str) -> Path:
    """A Python of that version on this machine: from pyenv, or on the PATH."""
    found = [path / "bin" / f"python{version}" for path in _VERSIONS.glob(f"{version}.*")]
    on_path = shutil.which(f"python{version}")
    for python in [*found, *([Path(on_path)] if on_path else [])]:
        command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == version:
            return python
    pytest.skip(f"there is no Python {version} on this machine")


def venv(folder: Path, python: Path | None = None) -> Path:
    """A virtual environment without pip, of the Python that runs this or another."""
    command = [str(python or sys.executable), "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def conda_prefix(folder: Path, **hooks: str) -> Path:
    """What conda makes, as far as it matters here, with activation hooks."""
    (folder / "bin").mkdir(parents=True)
    (folder / "conda-meta").mkdir()
    (folder / "conda-meta" / "history").touch()
    python = folder / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for name, code in hooks.items():
        hook = folder / "etc" / "conda" / "activate.d" / f"{name}.sh"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(code)
    return folder


def pretender(program: Path, **facts: object) -> Path:
    """A program that says of itself what it is told to: Pythons that this machine does not have."""
    told = {
        "version": [3, 11, 4],
        "implementation": "cpython",
        "ext_suffix": ".cpython-311-x86_64-linux-gnu.so",
        "prefix": "/nowhere",
        "base_prefix": "/nowhere",
        "executable": str(program),
        "libc": "glibc 2.36",
        "numpy": None,
        "machine": os.uname().machine,
        "free_threaded": False,
        "path": [],
        **facts,
    }
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n/bin/cat <<'END'\nTPBFACTS{json.dumps(told)}\nEND\n")
    program.chmod(0o755)
    return program


def compiled(path: Path, *options: str) -> Path:
    """A program that does nothing, linked with these options."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["c++", "-x", "c++", "-", "-x", "none", "-o", path, *options],
        input="int main() {}",
        text=True,
        check=True,
        capture_output=True,
    )
    return path
