"""Checks of the Triton server: found, startable, and the C library that it and our library need."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from triton_python._doctor.result import Finding, failed, ok, warning
from triton_python._doctor.subject import Subject
from triton_python._download import OLDEST_GLIBC, PYTRITON, check_machine, downloaded_binary, system_glibc
from triton_python._errors import TritonPythonError
from triton_python._server import TritonServer

START_SECONDS = 20
FETCH = (
    "`triton-python server install` fetches one (about 55 MB); `triton-python serve` does so the first time"
)
_SEE_SERVER = "see the check `server`"
_NO_SERVER = ok("there is no server yet")


def server(subject: Subject) -> Finding:
    """Which server would be started."""
    try:
        found = subject.found_server
    except TritonPythonError as error:
        return failed(str(error), "correct the path, or leave it away to have a server found or fetched")
    if found is None:
        try:
            check_machine()
        except TritonPythonError as error:
            return failed("there is no Triton server on this machine", str(error))
        return warning("there is no Triton server on this machine yet", FETCH)
    version = _version(found)
    return ok(f"{found.binary}{f' (Triton {version})' if version else ''}, found through {found.source}")


def server_start(subject: Subject) -> Finding:
    """Whether that server starts: its libraries are there and load."""
    found = _found(subject)
    if isinstance(found, Finding):
        return found
    missing = _missing_libraries(found.binary)
    if missing:
        return failed(
            f"{found.binary} needs libraries that are not on this machine: {', '.join(missing)}",
            _mend(found, "install them, or add their folder to LD_LIBRARY_PATH"),
        )
    try:
        result = subprocess.run(
            [found.binary, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failed(f"{found.binary} does not start: {error}", _mend(found, "run it by hand with --help"))
    # Its status says nothing: it ends with 1 after --help.
    if "--model-repository" not in result.stdout:
        said = result.stdout.strip().splitlines() or ["it said nothing"]
        return failed(
            f"{found.binary} does not start (status {result.returncode}): {said[0]}",
            _mend(found, "run it by hand with --help"),
        )
    return ok("it starts, and finds its libraries")


def glibc(subject: Subject) -> Finding:
    """The C library, for our own library and for the server that can be fetched."""
    here = system_glibc()
    if here is None:
        return failed(
            "the C library of this system is not glibc",
            "use a system with glibc 2.35 or newer, such as Debian 12 or Ubuntu 22.04",
        )
    try:
        needed = _needed_glibc(subject.installation.library)
    except (TritonPythonError, OSError):
        needed = None
    if needed and needed > here:
        return failed(
            f"the backend library needs glibc {_dotted(needed)}, this system has {_dotted(here)}",
            "install a wheel of triton-python-backend that was built on this system or an older one",
        )
    if _uses_managed(subject) and here < OLDEST_GLIBC:
        return failed(
            f"the Triton server that can be fetched needs glibc {_dotted(OLDEST_GLIBC)}, this system has "
            f"{_dotted(here)}",
            "use Debian 12, Ubuntu 22.04 or newer, or another server with --server or TRITON_SERVER",
        )
    return ok(
        f"glibc {_dotted(here)}" + (f" (the backend library needs {_dotted(needed)})" if needed else "")
    )


def _found(subject: Subject) -> TritonServer | Finding:
    try:
        found = subject.found_server
    except TritonPythonError:
        return warning("not looked at: there is no server where one was named", _SEE_SERVER)
    return found if found else _NO_SERVER


def _version(found: TritonServer) -> str:
    if _is_managed(found):
        return PYTRITON.triton
    try:  # NVIDIA's containers have it
        return (found.root / "TRITON_VERSION").read_text().strip()
    except OSError:
        return ""


def _is_managed(found: TritonServer) -> bool:
    return found.binary == downloaded_binary(PYTRITON)


def _uses_managed(subject: Subject) -> bool:
    found = _found(subject)
    return _is_managed(found) if isinstance(found, TritonServer) else found == _NO_SERVER


def _missing_libraries(binary: Path) -> list[str]:
    """What the dynamic loader would not find; it only lists, and starts nothing."""
    try:
        result = subprocess.run(
            [binary, "--help"],
            env={**os.environ, "LD_TRACE_LOADED_OBJECTS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^\s*(\S+) => not found", result.stdout, re.MULTILINE)


def _mend(found: TritonServer, otherwise: str) -> str:
    if _is_managed(found):
        return "fetch it again: `triton-python server remove --yes`, then `triton-python server install`"
    return otherwise


def _needed_glibc(library: Path) -> tuple[int, int] | None:
    # The names of the versions that it was linked against stand in its string table.
    found = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", library.read_bytes())
    return max((int(major), int(minor)) for major, minor in found) if found else None


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
