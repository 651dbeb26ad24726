"""One run of the load generator: a fresh process with a server, one backend, one model."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from comparison.backends import Backend
from comparison.cases import Case
from comparison.process import Failed, run
from comparison.repository import write_repository

# Starting a server, loading, warming up, ending; far more than that takes.
PATIENCE_SECONDS = 90
NOT_YET = "not supported by this version"


class Refused(Exception):
    """The backend says that it cannot do this."""


def measure(
    generator: Path, library: Path, folder: Path, case: Case, backend: Backend, log: Path
) -> dict[str, Any]:
    """What the generator reports; `folder` is for its use.

    Raises:
        Refused: the backend does not support what the case needs.
        Failed: there is no figure.
    """
    repository = write_repository(folder / "models", case, backend)
    command = [
        str(generator),
        f"--server-library={library}",
        f"--model-repository={repository}",
        f"--backend-directory={backend.directory}",
        f"--auto-complete-config={'yes' if case.auto_complete else 'no'}",
        f"--model={case.payload}",
        f"--payload={case.payload}",
        f"--size={case.size}",
        f"--clients={case.clients}",
        f"--warm-up-seconds={case.warm_up_seconds}",
        "--warm-up-requests=1000000",
        f"--seconds={case.seconds}",
        f"--loads={case.loads}",
        *(f"--backend-config={setting}" for setting in backend.settings),
    ]
    environment = backend.environment([library.parent])
    status, output = run(command, folder, log, PATIENCE_SECONDS, environment)
    report = _parse(output, status, log)
    if NOT_YET in str(report.get("error")):
        raise Refused(_first_line(report["error"]))
    if status != 0:
        raise Failed(_first_line(str(report.get("error", f"the generator ended with status {status}"))))
    if "loads_ms" in report:
        report["load_ms"] = statistics.median(report["loads_ms"])
    return report


def _parse(output: str, status: int, log: Path) -> dict[str, Any]:
    try:
        report = json.loads(output)
    except ValueError:
        raise Failed(f"the generator ended with status {status} and no report (see {log})") from None
    assert isinstance(report, dict)
    return report


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]
