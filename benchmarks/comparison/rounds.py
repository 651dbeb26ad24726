"""Runs every case with every backend in turn, several times.

The machine is not the same from minute to minute: a figure says little beside another that was taken at
another time. So each round of a case has every backend once, each in a fresh process, and ratios are formed
within a round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison import generator, machine
from comparison.backends import Backend
from comparison.cases import Case
from comparison.perf_analyzer import PerfAnalyzer
from comparison.process import Failed
from comparison.results import CaseResult

Say = Callable[[str], None]


@dataclass(frozen=True)
class Equipment:
    """What the runs need beside the backends."""

    generator: Path
    library: Path
    """The libtritonserver that every backend runs in."""
    perf_analyzer: PerfAnalyzer | None
    log: Path


def run_case(
    case: Case, backends: Sequence[Backend], rounds: int, equipment: Equipment, say: Say
) -> CaseResult:
    """A backend that refuses a case or fails at once is left out of its further rounds."""
    result = CaseResult(case)
    for number in range(rounds):
        # Nobody is always the one who runs after the same neighbour.
        start = number % len(backends)
        for backend in [*backends[start:], *backends[:start]]:
            if backend.name == case.leaves_out or result.is_hopeless(backend.name):
                continue
            try:
                report = _run(case, backend, equipment)
                report["load_average"] = machine.load()
                result.add(backend.name, number, report)
            except generator.Refused as refusal:
                result.refused[backend.name] = str(refusal)
            except Failed as failure:
                result.failed[backend.name] = str(failure)
        say(result.round_line(number))
    return result


def _run(case: Case, backend: Backend, equipment: Equipment) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="triton-python-bench-") as scratch:
        folder = Path(scratch)
        with equipment.log.open("a") as log:
            log.write(f"--- {case.name}, {backend.name}\n")
        if case.by_perf_analyzer:
            if equipment.perf_analyzer is None:
                raise Failed("there is no perf_analyzer")
            return equipment.perf_analyzer.measure(folder, equipment.library, case, backend, equipment.log)
        return generator.measure(equipment.generator, equipment.library, folder, case, backend, equipment.log)
