"""The backends that are compared: ours, and the floor that no Python backend can go below."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import triton_python
from comparison.process import Failed

OURS = "ours"
FLOOR = "floor"
UPSTREAM = "upstream"


@dataclass(frozen=True)
class Backend:
    """What a server needs in order to run models with it."""

    name: str
    in_config: str
    """Its name in config.pbtxt."""
    directory: Path
    """For --backend-directory."""
    settings: tuple[str, ...] = ()
    """For --backend-config."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set in the server's environment. PATH and LD_LIBRARY_PATH are put before what is there."""
    python: str = ""
    """Versions, for people."""

    def environment(self, library_folders: list[Path]) -> dict[str, str]:
        """The environment of a program that embeds a server, whose libraries lie in `library_folders`."""
        # Only NVIDIA's backend wants these two, and it sets its own.
        environment = {name: value for name, value in os.environ.items() if name not in _PYTHON_VARIABLES}
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, library_folders))
        for name, value in self.variables.items():
            before = environment.get(name) if name in _PATHS else None
            environment[name] = f"{value}{os.pathsep}{before}" if before else value
        return environment


_PYTHON_VARIABLES = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"}
_PATHS = {"PATH", "LD_LIBRARY_PATH"}


def server_library() -> Path:
    """The libtritonserver of the server that `triton-python` finds or fetches.

    Raises:
        Failed: it is in none of the places that are known.
    """
    server = triton_python.find_server()
    # A server of its own has lib/ beside bin/; that of the wheel has its libraries beside the package.
    places = [server.root / "lib", server.root.parent.parent / "nvidia_pytriton.libs"]
    for place in places:
        for library in sorted(place.glob("libtritonserver*.so")):
            return library
    raise Failed(f"the server {server.binary} has no libtritonserver in any of {', '.join(map(str, places))}")


def ours(python: Path) -> Backend:
    """The backend that is installed beside this Python; `python` runs its models."""
    directory = triton_python.backend_directory(triton_python.find_server())
    return Backend(
        name=OURS,
        in_config="python",
        directory=directory,
        settings=(f"python,python-executable={python}",),
        # perf_analyzer takes no backend settings: there, the python3 of PATH is used.
        variables={"PATH": str(python.parent)},
        python=versions(python),
    )


def floor(built: Path) -> Backend:
    """The backend that only copies, from the folder that CMake built it in."""
    return Backend(name=FLOOR, in_config="floor", directory=built / "backends")


def versions(python: Path) -> str:
    question = "import sys, numpy; print(f'Python {sys.version.split()[0]}, numpy {numpy.__version__}')"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True)
    if answer.returncode != 0:
        raise Failed(f"{python} cannot import numpy: {answer.stderr.strip()}")
    return answer.stdout.strip()


def own_python() -> Path:
    return Path(sys.executable)
