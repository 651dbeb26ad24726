"""Checks of our backend: as this environment holds it, and as it may be installed in the server."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

from triton_python._backend_dir import LIBRARY, OUR_BACKEND, PACKAGE
from triton_python._doctor.result import Finding, failed, ok, warning
from triton_python._doctor.subject import Subject
from triton_python._errors import TritonPythonError
from triton_python._marker import DISTRIBUTION, Marker, broken_files

REINSTALL = "install triton-python-backend again: pip install --force-reinstall, from a checkout or a wheel"
_SHOWN = 5


def backend(subject: Subject) -> Finding:
    """Whether library and package are complete, and are those that were installed together."""
    try:
        installation = subject.installation
    except TritonPythonError as error:
        return failed(str(error), REINSTALL)
    broken = list(_changed_since_installed())
    if broken:
        return failed(
            f"of triton-python-backend {subject.version}, these are missing or not as installed: "
            f"{_some(broken)}",
            REINSTALL,
        )
    return ok(f"triton-python-backend {subject.version}: {installation.library}, {installation.package}")


def server_backend(subject: Subject) -> Finding:
    """The backend that the server uses when it is started by hand, without --backend-directory."""
    try:
        server = subject.found_server
    except TritonPythonError:
        return warning("not looked at: there is no server where one was named", "see the check `server`")
    if server is None:
        return ok("there is no server yet")
    folder = server.backends_dir / OUR_BACKEND
    marker = Marker.read(folder)
    install = f"`triton-python install {server.backends_dir}`"
    if marker is None:
        if not os.path.lexists(folder):
            return ok(f"the server has no python backend of its own: `serve` brings ours, or {install}")
        return ok(
            f"{folder} is another python backend: `serve` uses ours; a server started by hand uses that one "
            f"unless it is given --backend-directory=$(triton-python backend-dir), or after {install}"
        )
    broken = broken_files(folder, marker)
    if broken:
        return failed(
            f"of triton-python-backend {marker.version} in {folder}, these are missing or changed: "
            f"{_some(broken)}",
            f"install it again: {install}",
        )
    if marker.version != subject.version:
        return warning(
            f"{folder} is triton-python-backend {marker.version}, this is {subject.version}",
            f"bring it up to date: {install}; then start the server anew",
        )
    if not os.access(marker.interpreter, os.X_OK):
        return warning(
            f"{folder} names {marker.interpreter} for models, which is not there or not for this user",
            f"install it from a Python that stays and that the server's user can reach: {install}",
        )
    return ok(f"{folder} is triton-python-backend {marker.version}")


def _changed_since_installed() -> Iterator[str]:
    """Our files whose content is not what pip wrote down for them."""
    ours = (f"{PACKAGE}/", f"triton_python/backends/{OUR_BACKEND}/{LIBRARY}")
    for file in importlib.metadata.files(DISTRIBUTION) or []:
        path = Path(str(file.locate()))
        if not str(file).startswith(ours) or file.hash is None or file.hash.mode != "sha256":
            continue
        try:
            found = hashlib.sha256(path.read_bytes()).digest()
        except OSError:
            yield f"{path} (missing)"
            continue
        if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != file.hash.value:
            yield str(path)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
