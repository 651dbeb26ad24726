"""Builds `_core` for a Python that has none, from the C++ sources that this distribution carries.

<cache>/cores/_core.<suffix>.so     what was built where the installed package cannot be written
<cache>/cores/build-3.N.log         what CMake and the compiler said
<cache>/cores/scratch-…/            CMake, Ninja, pybind11 and the build itself, while it runs
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from triton_python._backend_dir import PACKAGE, Installation
from triton_python._cache import cache_dir, exclusive, writable_dir
from triton_python._errors import TritonPythonError
from triton_python._marker import DISTRIBUTION
from triton_python._paths import absolute_path
from triton_python._progress import Steps
from triton_python._stub_python import StubPython, find_compiler

SOURCE = Path(__file__).parent / "source"
TOOLS = {"cmake": (3, 22), "ninja": (1, 0), "pybind11": (2, 13)}
# Loads the module as the process of a model does: by itself, before numpy and the package.
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("triton_python_backend_utils._core", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def cores_directory() -> Path:
    """Where models find a `_core` that could not be put into the installed package; not created here."""
    return cache_dir() / "cores"


def build_stub(python: str, into: str = "") -> Path:
    """Compiles `_core` for a Python, and returns the file that was made.

    Args:
        python: a path, the folder of a virtual environment, or a command.
        into: a backend folder (`…/backends/python`) that is to hold it, in place of the installed package or,
            where that cannot be written, `cores_directory()`.

    Raises:
        TritonPythonError: that Python cannot have one, the build lacks something that it needs, or it failed.
    """
    target = StubPython.named(python)
    folder = _backend_package(into) if into else _default_folder()
    find_compiler()
    if not (SOURCE / "CMakeLists.txt").is_file():
        raise TritonPythonError(
            f"{SOURCE} is missing, the C++ sources: install triton-python-backend from a wheel or with pip"
        )
    cores = writable_dir(cores_directory())
    with (
        exclusive(cores / "build.lock"),
        tempfile.TemporaryDirectory(prefix="scratch-", dir=cores) as scratch,
        (cores / f"build-{target.version}.log").open("w") as log,
        Steps(f"_core for Python {target.version}") as steps,
    ):
        build = _Build(target, Path(scratch), log, steps)
        return _put(build.run(), folder)


class _Build:
    """One build, in a scratch folder of its own."""

    def __init__(self, target: StubPython, scratch: Path, log: TextIO, steps: Steps) -> None:
        self._target = target
        self._scratch = scratch
        self._log = log
        self._steps = steps

    def run(self) -> Path:
        tools = self._tools()
        pybind11 = self._output([tools, "-m", "pybind11", "--cmakedir"])
        ninja = self._output([tools, "-c", "import ninja; print(ninja.BIN_DIR)"])
        build = self._scratch / "build"
        self._steps.step("configuring")
        configure = [
            *(tools, "-m", "cmake", "-S", str(SOURCE), "-B", str(build), "-G", "Ninja"),
            *("-DCMAKE_BUILD_TYPE=Release", "-DTPB_BUILD_BACKEND=OFF", "-DTPB_PYTHONS=own"),
            f"-DCMAKE_MAKE_PROGRAM={ninja}/ninja",
            f"-DPython_EXECUTABLE={self._target.executable}",
            f"-Dpybind11_DIR={pybind11}",
            f"-DSKBUILD_PROJECT_VERSION={importlib.metadata.version(DISTRIBUTION)}",
        ]
        self._call("configuring", configure)
        self._steps.step("compiling")
        self._call("compiling", [tools, "-m", "cmake", "--build", str(build)])
        made = build / "stub" / f"_core{self._target.suffix}"
        self._steps.step("loading it")
        self._call("loading it", [self._target.executable, "-B", "-c", LOAD, str(made)])
        return made

    def _tools(self) -> str:
        """A Python that has CMake, Ninja and pybind11."""
        if all(_has(name, oldest) for name, oldest in TOOLS.items()):
            return sys.executable
        self._steps.step("fetching cmake, ninja and pybind11 from the package index")
        environment = self._scratch / "tools"
        self._call("making an environment for CMake", [sys.executable, "-m", "venv", str(environment)])
        python = str(environment / "bin" / "python")
        wanted = [f"{name}>={'.'.join(map(str, oldest))}" for name, oldest in TOOLS.items()]
        self._call("fetching cmake, ninja and pybind11", [python, "-m", "pip", "install", "-q", *wanted])
        return python

    def _output(self, command: Sequence[str]) -> str:
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except subprocess.CalledProcessError as error:
            raise TritonPythonError(
                f"{command[0]} lacks what the build needs ({error.stderr.strip().splitlines()[-1:]}): bring "
                "cmake, ninja and pybind11 up to date there with pip, or remove them"
            ) from error

    def _call(self, doing: str, command: Sequence[str]) -> None:
        """Runs one step; what it says goes to the log, and how far Ninja is to the person."""
        last = ""
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self._log.write(line)
                step = re.match(r"\[(\d+)/(\d+)\]", line)
                if step:
                    self._steps.update(int(step[1]), int(step[2]))
                if "error" in line.lower() and not last:
                    last = f": {line.strip()}"
        if process.returncode != 0:
            raise TritonPythonError(
                f"could not build _core for Python {self._target.version} ({self._target.executable}): "
                f"{doing} failed{last}; {self._log.name} has all of it"
            )


def _has(name: str, oldest: tuple[int, ...]) -> bool:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(int(part) for part in re.findall(r"\d+", found)[:2]) >= oldest


def _backend_package(into: str) -> Path:
    folder = absolute_path(into)
    package = folder / PACKAGE
    if not (package / "__init__.py").is_file():
        raise TritonPythonError(
            f"--into {into} names no backend folder: there is no {package}; give the folder backends/python "
            "that triton-python install has made"
        )
    if not os.access(package, os.W_OK):
        raise TritonPythonError(f"--into {into}: {package} cannot be written; run the command as its owner")
    return package


def _default_folder() -> Path:
    package = Installation.current().package
    return package if os.access(package, os.W_OK) else cores_directory()


def _put(made: Path, folder: Path) -> Path:
    """Under its name at once and whole: a model may start at any moment."""
    final = folder / made.name
    new = folder / f".{made.name}.{os.getpid()}"
    try:
        shutil.copyfile(made, new)
        new.chmod(0o755)
        new.replace(final)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise TritonPythonError(f"cannot write {final} ({error.strerror or error})") from error
    return final
