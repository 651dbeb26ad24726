"""The front of Triton Python Backend: finds a Triton Inference Server and starts it with our Python backend.

The command `triton-python` is made of the same functions. What a model imports is another package,
`triton_python_backend_utils`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from triton_python._backend_dir import backend_directory
from triton_python._doctor.result import CheckResult
from triton_python._errors import TritonPythonError
from triton_python._install import (
    InstalledBackend,
    UninstalledBackend,
    install_backend,
    uninstall_backend,
)
from triton_python._managed import RemovedServer, remove_server
from triton_python._server import TritonServer, find_server, locate_server

__all__ = [
    "CheckResult",
    "InstalledBackend",
    "RemovedServer",
    "TritonPythonError",
    "TritonServer",
    "UninstalledBackend",
    "__version__",
    "backend_directory",
    "diagnose",
    "find_server",
    "install_backend",
    "locate_server",
    "remove_server",
    "uninstall_backend",
]

__version__ = version("triton-python-backend")


def diagnose(places: Sequence[str] = (), server: str = "", python: str = "") -> list[CheckResult]:
    """What `triton-python doctor` finds on this machine; changes nothing and raises nothing.

    Args:
        places: model repositories or models to look at, too.
        server: the tritonserver program or its folder, in place of the one that would be found.
        python: the Python that models are to run in, in place of the one that would be chosen.
    """
    from triton_python._doctor import Subject, examine

    return examine(Subject(places=places, server=server, python=python))
