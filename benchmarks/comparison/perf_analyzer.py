"""NVIDIA's perf_analyzer on a server in its own process, for figures that others can compare with theirs.

It checks no answers. Its outputs are copied from freed memory, so large ones crash it: small tensors only.
"""

from __future__ import annotations

import csv
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison.backends import Backend
from comparison.cases import Case
from comparison.fetch import unpacked
from comparison.process import Failed, run
from comparison.repository import write_repository

# The last one whose program runs with glibc 2.36.
WHEEL = "tritonclient==2.50.0"
PROGRAM = "tritonclient-2.50.0.data/data/bin/perf_analyzer"
# Names that it wants, and what the server's wheel calls them.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
WINDOW_MS = 1000
PATIENCE_SECONDS = 40


@dataclass(frozen=True)
class PerfAnalyzer:
    """The program, and where the libraries that it needs lie."""

    program: Path
    folders: list[Path]

    def measure(self, folder: Path, library: Path, case: Case, backend: Backend, log: Path) -> dict[str, Any]:
        """Median latency and throughput; `folder` is for its use.

        Raises:
            Failed: there is no figure.
        """
        report = folder / "report.csv"
        command = [
            str(self.program),
            "-m",
            case.payload,
            "--service-kind=triton_c_api",
            f"--triton-server-directory={_server_folder(folder / 'server', library, backend)}",
            f"--model-repository={write_repository(folder / 'models', case, backend)}",
            f"--shape=IN:{case.size // 4}",
            f"--concurrency-range={case.clients}",
            "--measurement-mode=time_windows",
            f"--measurement-interval={WINDOW_MS}",
            # Three windows, whatever they show: how steady the figures are is seen from round to round.
            "--stability-percentage=999",
            "--percentile=50",
            "-f",
            str(report),
        ]
        status, _ = run(command, folder, log, PATIENCE_SECONDS, backend.environment(self.folders))
        if not report.is_file():
            raise Failed(f"perf_analyzer ended with status {status} and no report (see {log})")
        with report.open() as lines:
            rows = list(csv.DictReader(lines))
        if len(rows) != 1:
            raise Failed(f"perf_analyzer reported {len(rows)} lines, expected one (see {log})")
        return {"p50_us": float(rows[0]["p50 latency"]), "throughput": float(rows[0]["Inferences/Second"])}


def set_up(folder: Path, server_library: Path, log: Path) -> PerfAnalyzer:
    """Everything under `folder`, made once.

    Raises:
        Failed: it cannot be fetched, or does not run here.
    """
    wheel = unpacked(WHEEL, PROGRAM.__eq__, folder / WHEEL.replace("==", "-"), log)
    program = wheel / PROGRAM
    program.chmod(0o755)
    links = wheel / "libraries"
    links.mkdir(exist_ok=True)
    for name, pattern in LIBRARIES.items():
        for library in sorted(server_library.parent.glob(pattern))[:1]:
            (links / name).unlink(missing_ok=True)
            (links / name).symlink_to(library)
    found = PerfAnalyzer(program, [links, server_library.parent])
    environment = Backend("", "", Path()).environment(found.folders)
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, env=environment)
    if "Perf Analyzer" not in answer.stdout + answer.stderr:
        raise Failed(f"perf_analyzer does not run: {(answer.stderr or answer.stdout).strip()}")
    return found


def _server_folder(folder: Path, library: Path, backend: Backend) -> Path:
    """The layout in which perf_analyzer looks for a server."""
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "libtritonserver.so").symlink_to(library)
    (folder / "backends").symlink_to(backend.directory)
    return folder
