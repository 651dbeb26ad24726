"""Finds a Triton Inference Server: a place that was named, where one may be, or a managed download."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path

from triton_python._download import PYTRITON, download_server, downloaded_binary
from triton_python._errors import TritonPythonError

SERVER_VARIABLE = "TRITON_SERVER"
CONTAINER_ROOT = Path("/opt/tritonserver")


@dataclass(frozen=True)
class TritonServer:
    """A server found on this machine."""

    binary: Path
    root: Path
    """The folder that holds `bin/` and `backends/`."""
    backends_dir: Path
    source: str
    """How it was found, for people."""


def find_server(explicit: str = "") -> TritonServer:
    """The server to use; fetched (about 55 MB, once) when there is none.

    Raises:
        TritonPythonError: the place that was named holds no server, or none could be fetched.
    """
    return locate_server(explicit) or _server(download_server(PYTRITON), _managed_source())


def locate_server(explicit: str = "") -> TritonServer | None:
    """The server to use among those that are already there; never uses the network.

    Raises:
        TritonPythonError: `explicit` or the variable TRITON_SERVER is set and holds no server. A place
            that somebody named is not passed over in silence.
    """
    if explicit:
        return _named(explicit, f"--server {explicit}")
    variable = os.environ.get(SERVER_VARIABLE, "")
    if variable:
        return _named(variable, f"the environment variable {SERVER_VARIABLE}={variable}")
    container_binary = CONTAINER_ROOT / "bin" / "tritonserver"
    if _is_program(container_binary):
        return _server(container_binary, str(CONTAINER_ROOT))
    return _installed_pytriton() or _downloaded()


def _named(place: str, source: str) -> TritonServer:
    path = Path(place).expanduser().absolute()
    if path.is_dir():
        path = path / "bin" / "tritonserver"
    if not path.exists():
        raise TritonPythonError(
            f"{source} names no Triton server: {path} does not exist; give the tritonserver program or the "
            "folder that holds bin/tritonserver"
        )
    if not _is_program(path):
        raise TritonPythonError(f"{source} names no Triton server: {path} is not an executable file")
    return _server(path, source)


def _installed_pytriton() -> TritonServer | None:
    try:
        distribution = importlib.metadata.distribution(PYTRITON.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    binary = Path(str(distribution.locate_file(PYTRITON.binary)))
    if not _is_program(binary):
        return None
    return _server(binary, f"the installed {PYTRITON.distribution} {distribution.version}")


def _downloaded() -> TritonServer | None:
    binary = downloaded_binary(PYTRITON)
    return _server(binary, _managed_source()) if _is_program(binary) else None


def _managed_source() -> str:
    return f"the managed download of {PYTRITON.distribution} {PYTRITON.version}"


def _server(binary: Path, source: str) -> TritonServer:
    # A link such as /usr/local/bin/tritonserver: the backends lie beside what it points to.
    root = binary.resolve().parent.parent
    return TritonServer(binary=binary, root=root, backends_dir=root / "backends", source=source)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
