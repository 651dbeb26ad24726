"""What the doctor looks at, and what several checks need to know about it, looked up once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from triton_python._backend_dir import Installation
from triton_python._doctor.probe import MARK
from triton_python._interpreter import named_interpreter
from triton_python._marker import DISTRIBUTION
from triton_python._options import Endpoint, endpoints
from triton_python._server import TritonServer, locate_server

PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS = 20


@dataclass(frozen=True)
class Probe:
    """What `probe.py` has found in a Python."""

    executable: str
    prefix: str
    version: tuple[int, ...]
    numpy: str = ""
    numpy_error: str = ""
    core: str = ""
    """The version of the compiled module."""
    core_error: str = ""
    tensor_error: str = ""
    """Why an array does not survive the way through a tensor."""

    @property
    def can_run_models(self) -> bool:
        """What the backend asks of a python3 on the PATH before it takes it."""
        return not self.numpy_error and not self.core_error


@dataclass(frozen=True)
class Choice:
    """The Python that models are going to run in."""

    path: str
    reason: str
    probe: Probe | None
    problem: str = ""
    """Why there is no probe."""
    passed_over: str = ""
    """Which one would have come before it, and why it did not."""


@dataclass(frozen=True)
class Subject:
    """What to examine; everything has the default that the commands have."""

    places: Sequence[str] = ()
    """Model repositories, as for `serve`."""
    server: str = ""
    python: str = ""
    endpoints: Sequence[Endpoint] = field(default_factory=lambda: endpoints([]))

    @cached_property
    def version(self) -> str:
        return version(DISTRIBUTION)

    @cached_property
    def installation(self) -> Installation:
        """Raises TritonPythonError if a part of it is missing."""
        return Installation.current()

    @cached_property
    def found_server(self) -> TritonServer | None:
        """Raises TritonPythonError if the place that was named holds none."""
        return locate_server(self.server)

    @cached_property
    def choice(self) -> Choice:
        """The Python for models, chosen in the backend's order.

        Raises TritonPythonError if there is none, or the installation is not complete.
        """
        package = self.installation.package
        if self.python:
            path = named_interpreter(self.python)
            return _chosen(path, "given with --python", package)
        passed_over = ""
        for candidate in _on_path("python3"):
            probe = _ask(candidate, package)
            if isinstance(probe, Probe) and probe.can_run_models:
                return Choice(probe.executable, "python3 on the PATH", probe)
            why = probe if isinstance(probe, str) else probe.numpy_error or f"_core: {probe.core_error}"
            passed_over = f"{candidate} on the PATH is passed over: {why}"
            break  # the backend, too, asks only the first
        reason = "the Python that installed the backend"
        return _chosen(self.installation.interpreter, reason, package, passed_over)

    def same_environment(self, probe: Probe) -> bool:
        """Whether it is the Python that runs this, whatever its name there."""
        return Path(probe.prefix) == Path(sys.prefix)


def _chosen(path: str, reason: str, package: Path, passed_over: str = "") -> Choice:
    answer = _ask(path, package)
    if isinstance(answer, str):
        return Choice(path, reason, None, answer, passed_over)
    return Choice(path, reason, answer, "", passed_over)


def _on_path(program: str) -> Iterator[str]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = Path(folder, program)
        if folder.startswith("/") and candidate.is_file() and os.access(candidate, os.X_OK):
            yield str(candidate)


def _ask(program: str, package: Path) -> Probe | str:
    """What the probe says there, or why it says nothing."""
    try:
        result = subprocess.run(
            [program, "-c", PROBE.read_text(), str(package)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not answer within {PROBE_SECONDS} s"
    except OSError as error:
        return f"it cannot be started ({error.strerror})"
    told: dict[str, Any] = {}
    for line in result.stdout.splitlines():
        if line.startswith(MARK):
            told.update(json.loads(line[len(MARK) :]))
    if not told:
        return "it is no Python" if result.returncode == 0 else _ending(result)
    # What it did not live to tell is what ended it.
    untold = [stage for stage in ("numpy", "core", "tensor") if f"{stage}_error" not in told]
    if result.returncode != 0 and untold:
        told[f"{untold[0]}_error"] = _ending(result)
    return Probe(**{**told, "version": tuple(told["version"])})


def _ending(result: subprocess.CompletedProcess[str]) -> str:
    if result.returncode < 0:
        return f"it was ended by {signal.Signals(-result.returncode).name}"
    said = result.stderr.strip().splitlines() or ["it said nothing"]
    return f"it ended with status {result.returncode}: {said[-1]}"
