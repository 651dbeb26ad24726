"""Finds the Python of an environment and asks it what it is."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import elf, processes
from .problem import EnvironmentProblem, reason_of

OLDEST = (3, 9)
PYTHONS = ("python3", "python")
LIMIT_S = 60.0
PACK = "pack it with `triton-python env pack` on a machine where it works, and name the archive"
AGAIN = f"Make the environment again on this machine, or {PACK}"

_MARK = b"TPBFACTS"
# For Python 2.7 as well as 3. -c puts the current folder on the path: nothing may come from there. To import
# numpy would take long, and who starts the model tells what is wrong with it.
_PROBE = r"""
import sys
sys.path = [p for p in sys.path if p]
import json, os, re
def numpy():
    for folder in sys.path:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            found = re.match(r"numpy-([^-]+)(-.*)?\.(dist|egg)-info$", name)
            if found:
                return found.group(1)
def libc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError, AttributeError):
        return None
def suffix():
    try:
        from importlib.machinery import EXTENSION_SUFFIXES
        return EXTENSION_SUFFIXES[0]
    except ImportError:
        return ".so"
pypy = "__pypy__" in sys.builtin_module_names
facts = {
    "version": list(sys.version_info[:3]),
    "implementation": getattr(getattr(sys, "implementation", None), "name", "pypy" if pypy else "cpython"),
    "ext_suffix": suffix(),
    "prefix": sys.prefix,
    "base_prefix": getattr(sys, "base_prefix", sys.prefix),
    "executable": sys.executable or "",
    "libc": libc(),
    "numpy": numpy(),
    "machine": os.uname()[4],
    "free_threaded": "t" in getattr(sys, "abiflags", ""),
    "path": sys.path,
}
sys.stdout.flush()
os.write(1, b"\nTPBFACTS" + json.dumps(facts).encode("ascii") + b"\n")
"""


@dataclass(frozen=True)
class PythonFacts:
    """What an interpreter says about itself."""

    version: tuple[int, int, int]
    implementation: str  # as sys.implementation.name: cpython, pypy
    ext_suffix: str  # of its extension modules: .cpython-311-x86_64-linux-gnu.so
    prefix: str
    base_prefix: str  # differs from prefix in a virtual environment
    executable: str
    libc: str | None  # such as "glibc 2.36"; None where it is not glibc
    numpy: str | None  # the version in its own site-packages; the user's are not looked at
    machine: str
    free_threaded: bool
    path: tuple[str, ...]  # where it imports from

    def version_text(self) -> str:
        return ".".join(str(part) for part in self.version)


def find_python(prefix: Path) -> Path:
    """`bin/python3` or `bin/python` of an environment, links not resolved: that would lead out of a venv.

    Raises:
        EnvironmentProblem: there is none; the message says why.
    """
    candidates = [prefix / "bin" / name for name in PYTHONS]
    for python in candidates:
        try:
            if python.is_file():
                return python
        except OSError as error:
            raise EnvironmentProblem(_unreadable(prefix, error)) from error
    for python in candidates:
        if python.is_symlink():
            raise EnvironmentProblem(
                f"{python} is a link to {python.readlink()}, which does not exist here: the environment "
                f"was made on another machine, or the Python that it needs was removed. {AGAIN}"
            )
    raise EnvironmentProblem(_no_environment(prefix))


def ask(
    python: Path, environ: Mapping[str, str] | None = None, alive: Callable[[], None] = lambda: None
) -> PythonFacts:
    """Runs the interpreter once, for a moment.

    Raises:
        EnvironmentProblem: it does not run, or does not answer as a Python does.
    """
    command: list[str | Path] = [python, "-E", "-s", "-B", "-c", _PROBE]  # 2.7 knows no -I
    try:
        ended = processes.run(command, os.environ if environ is None else environ, alive, LIMIT_S)
    except OSError as error:
        raise EnvironmentProblem(does_not_start(python, error)) from error
    except processes.Overdue:
        raise EnvironmentProblem(
            f"{python} was asked for its version and did not answer within {LIMIT_S:.0f} s. "
            "Run it by hand to see what it waits for"
        ) from None
    answers = [line for line in ended.output.split(b"\n") if line.startswith(_MARK)]
    if not answers:
        raise EnvironmentProblem(
            f"{python} does not work as a Python ({ended.how()}): {ended.last_words()}. {AGAIN}"
        )
    facts = json.loads(answers[-1][len(_MARK) :])
    facts["version"] = tuple(facts["version"])
    facts["path"] = tuple(facts["path"])
    return PythonFacts(**facts)


def check(python: Path, facts: PythonFacts, core_folders: Iterable[Path]) -> None:
    """Whether models can run there at all. Where `_core` is missing for it, the model's process tells.

    Raises:
        EnvironmentProblem: it is too old, or of a kind that has no `_core`.
    """
    name = f"Python {facts.version_text()} ({python})"
    oldest = ".".join(str(part) for part in OLDEST)
    if facts.implementation != "cpython":
        raise EnvironmentProblem(
            f"{python} is {facts.implementation} and not CPython, for which alone there is a compiled part. "
            f"Make the environment with CPython {oldest} or newer"
        )
    if facts.version[:2] < OLDEST:
        raise EnvironmentProblem(
            f"{name} is too old: models need {oldest} or newer. Make the environment with a newer Python"
        )
    folders = [*core_folders, *(Path(entry, "triton_python_backend_utils") for entry in facts.path)]
    has_core = any((folder / f"_core{facts.ext_suffix}").is_file() for folder in folders)
    if facts.free_threaded and not has_core:
        plain = ".".join(str(part) for part in facts.version[:2])
        raise EnvironmentProblem(
            f"{name} is a free-threaded build, for which there is no compiled part "
            f"(_core{facts.ext_suffix}). Make the environment with the usual build of Python {plain}"
        )


def is_script(python: Path) -> bool:
    """Whether it is one that starts an interpreter, as the shims of pyenv are."""
    with python.open("rb") as file:
        return file.read(2) == b"#!"


def does_not_start(python: Path, error: OSError) -> str:
    """Why the system refused to start that program."""
    try:
        if error.errno == errno.ENOEXEC:
            return _wrong_format(python)
        if error.errno == errno.ENOENT:
            return _no_loader(python)
        if error.errno in (errno.EACCES, errno.EPERM):
            return _no_permission(python)
    except OSError as worse:
        return f"{python} cannot be read: {reason_of(worse)}. {AGAIN}"
    return f"{python} does not start: {reason_of(error)}. {AGAIN}"


def _wrong_format(python: Path) -> str:
    program = elf.read_elf(python)
    here = os.uname().machine
    if program is not None and program.machine != here:
        return (
            f"{python} is a program for {program.machine}, and this machine is {here}. "
            f"Make the environment on {here}"
        )
    size = python.stat().st_size
    what = "is empty" if size == 0 else "is no program that this machine can run, perhaps it is damaged"
    return f"{python} {what}. {AGAIN}"


def _no_loader(python: Path) -> str:
    if not python.exists():
        return f"{python} does not exist. {AGAIN}"
    program = elf.read_elf(python)
    if program is not None and program.loader and not Path(program.loader).exists():
        musl = " (musl, such as Alpine's)" if "musl" in program.loader else ""
        return (
            f"{python} needs the loader {program.loader}, which this machine does not have: it was built for "
            f"another system{musl}, {program.machine}. Make the environment on a system such as this one "
            f"({os.uname().machine}, glibc)"
        )
    if program is None and is_script(python):
        line = python.read_bytes()[2:200].partition(b"\n")[0].decode("utf-8", "replace").strip()
        return f"{python} is a script for {line}, which does not exist here. {AGAIN}"
    return f"{python} cannot be started: something that it needs does not exist. {AGAIN}"


def _no_permission(python: Path) -> str:
    if os.statvfs(python).f_flag & os.ST_NOEXEC:
        return (
            f"{python} lies on a file system that is mounted noexec, where nothing can be run. "
            "Move the environment, or mount it without that option"
        )
    if not os.access(python, os.X_OK):
        return f"{python} may not be executed by the user of the server: run chmod a+x {python}"
    return f"{python} may not be executed by the user of the server: the system refuses it"


def _unreadable(prefix: Path, error: OSError) -> str:
    return (
        f"{prefix} cannot be read by the user of the server (uid {os.geteuid()}): {reason_of(error)}. "
        "Give that user permission, or choose another environment"
    )


def _no_environment(prefix: Path) -> str:
    if (prefix / "Scripts").is_dir() or (prefix / "python.exe").exists():
        return f"{prefix} is an environment of Windows. Make the environment on this machine"
    return (
        f"{prefix} is not a Python environment: it has no bin/python3 and no bin/python. Name the folder of "
        "a conda, venv, uv, virtualenv or pyenv environment, or an archive that holds one"
    )
