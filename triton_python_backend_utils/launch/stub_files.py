"""What `triton_python_backend_stub` in a model's folder is. It is read, and never run.

For NVIDIA's backend it is a program that is linked to one version of Python. Ours is a script that is
installed with an environment; a copy of it in a model's folder selects the Python of that environment.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import elf
from .problem import reason_of

NAME = "triton_python_backend_stub"

# What the script that pip or uv writes for our entry point imports.
_MARKER = re.compile(
    rb"^\s*(from\s+triton_python_backend_utils\.stub_command\s+import\b"
    rb"|from\s+triton_python_backend_utils\s+import\s+stub_command\b"
    rb"|import\s+triton_python_backend_utils\.stub_command\b)",
    re.MULTILINE,
)
_LIBPYTHON = re.compile(r"libpython(\d+\.\d+)")
_LONGEST_SCRIPT = 64 * 1024


@dataclass(frozen=True)
class StubFile:
    """Ours, and then it selects `python`; or one for NVIDIA's backend, made for that `version` of
    Python; or neither, and then `problem` says what it is."""

    path: Path
    python: Path | None = None
    version: str | None = None  # such as "3.10"
    problem: str = ""


def stub_file(model_folder: Path) -> StubFile | None:
    """What the model's folder has, or None when there is nothing of that name."""
    path = model_folder / NAME
    try:
        path.lstat()
    except OSError:
        return None
    if path.is_dir():
        return StubFile(path, problem="is a folder")
    try:
        with path.open("rb") as file:
            start = file.read(_LONGEST_SCRIPT)
        if start.startswith(elf.MAGIC):
            return _program(path)
    except OSError as error:
        return StubFile(path, problem=f"cannot be read ({reason_of(error)})")
    if not start.startswith(b"#!"):
        return StubFile(path, problem="is neither a program nor a script")
    if not _MARKER.search(start):
        return StubFile(path, problem="is a script of somebody else's")
    python = _python_of(start)
    if python is None:
        return StubFile(path, problem="is a script of ours that does not name its Python by an absolute path")
    return StubFile(path, python=python)


def _program(path: Path) -> StubFile:
    parsed = elf.read_elf(path)
    found = None
    if parsed is not None:
        found = next(filter(None, map(_LIBPYTHON.search, parsed.needed)), None)
    if found is None:  # damaged, or linked in an unusual way: the name is in there somewhere
        anywhere = re.search(rb"libpython(\d+\.\d+)[a-z]*\.so", path.read_bytes())
        version = anywhere[1].decode("ascii") if anywhere else None
    else:
        version = found[1]
    if version is None:
        return StubFile(path, problem="is a program that is not linked to any Python")
    return StubFile(path, version=version)


def _python_of(script: bytes) -> Path | None:
    """The interpreter in the first lines of a script."""
    lines = [line.decode("utf-8", "surrogateescape").strip() for line in script.split(b"\n", 2)[:2]]
    words = lines[0][2:].split()
    if len(words) == 1 and words[0] == "/bin/sh" and len(lines) > 1:
        # For long paths and those with spaces: '''exec' "/a path/python" "$0" "$@"
        try:
            words = shlex.split(lines[1])
        except ValueError:
            return None
        if words[:1] != ["exec"]:
            return None
        words = words[1:]
    elif words and Path(words[0]).name == "env":
        named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        found = shutil.which(named[0]) if named else None
        return Path(found) if found else None
    return Path(words[0]) if words and Path(words[0]).is_absolute() else None
