"""Measures our Python backend beside NVIDIA's own and beside a backend that only copies; `make bench`.

Sets everything up from the package index into build/bench/ (the second run needs no network), then takes
turns: every round of a case runs each backend once. Prints a table, and writes it and all figures to
build/bench/results.md and .json. docs/benchmarks.md says how to read them.

Exit status: 0 whatever the figures are; 1 for wrong answers, or when our backend or the floor could not be
measured; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from comparison import backends, machine, perf_analyzer, upstream
from comparison.backends import FLOOR, OURS, UPSTREAM, Backend
from comparison.cases import CASES, Case, quick
from comparison.process import Failed
from comparison.results import CaseResult
from comparison.rounds import Equipment, run_case
from comparison.table import markdown, notes, print_table

import triton_python

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench"
BUILT = ROOT / "build" / "dev" / "benchmarks"
NAMES = (UPSTREAM, OURS, FLOOR)
ROUNDS = 5
QUICK_ROUNDS = 2

Thing = TypeVar("Thing")


def main() -> int:
    arguments = parse_arguments()
    # Leave through the `finally` blocks when `make` is told to stop.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / "log.txt"
    log.write_text("")
    cases = chosen_cases(arguments)
    if not cases:
        print(f"no case matches {arguments.only!r}; there are: {', '.join(case.name for case in CASES)}")
        return 2
    try:
        equipment, contenders, remarks = set_up(arguments, cases, log)
    except (Failed, triton_python.TritonPythonError) as failure:
        say(f"FAIL: {failure}")
        return 1
    before = machine.load()
    if equipment.perf_analyzer is None:
        cases = [case for case in cases if not case.by_perf_analyzer]
    results = [run_case(case, contenders, arguments.rounds, equipment, say) for case in cases]
    write(arguments.output, results, contenders, remarks, before)
    show(results, contenders, [*remarks, load_remark(before)])
    print(f"all figures: {arguments.output}; the table: {arguments.output.with_suffix('.md')}")
    return 1 if problems(results) else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: few rounds, small, no figures to keep"
    )
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="cases whose name this expression finds"
    )
    parser.add_argument("--backends", default=",".join(NAMES), help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, help=f"rounds per case (default {ROUNDS})")
    parser.add_argument("--output", type=Path, default=FOLDER / "results.json", help="where the figures go")
    arguments = parser.parse_args()
    arguments.backends = [name for name in NAMES if name in arguments.backends.split(",")]
    if OURS not in arguments.backends:
        parser.error("--backends has to name ours: every ratio is one of ours")
    arguments.rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    return arguments


def chosen_cases(arguments: argparse.Namespace) -> list[Case]:
    cases = [case for case in CASES if re.search(arguments.only, case.name, re.IGNORECASE)]
    return [small for case in cases if (small := quick(case))] if arguments.quick else cases


def set_up(
    arguments: argparse.Namespace, cases: Sequence[Case], log: Path
) -> tuple[Equipment, list[Backend], list[str]]:
    """What is needed; remarks say what could not be had, beside our own backend, which must."""
    remarks: list[str] = []
    if not (BUILT / "generator").exists():
        raise Failed(f"{BUILT} holds no generator: run `make bench`, which builds it")
    library = backends.server_library()
    others = None
    if UPSTREAM in arguments.backends:
        others = attempt(lambda: set_up_upstream(library, log), "NVIDIA's backend", remarks)
    # The same environment of Python for both, where both can use it.
    python = backends.own_python()
    if others is not None and others.minor == sys.version_info[1]:
        python = others.python
    elif others is not None:
        remarks.append("the backends run different Pythons: NVIDIA's finds none like ours with a libpython")
    by_name = {OURS: backends.ours(python), FLOOR: backends.floor(BUILT)}
    if others is not None:
        by_name[UPSTREAM] = others.backend
    analyzer = None
    if any(case.by_perf_analyzer for case in cases):
        analyzer = attempt(lambda: perf_analyzer.set_up(FOLDER, library, log), "perf_analyzer", remarks)
    equipment = Equipment(BUILT / "generator", library, analyzer, log)
    contenders = [by_name[name] for name in arguments.backends if name in by_name]
    return equipment, contenders, remarks


def set_up_upstream(library: Path, log: Path) -> upstream.Upstream:
    """NVIDIA's backend, once it has answered rightly here.

    Raises:
        Failed: it cannot be set up, or answers wrongly.
    """
    found = upstream.set_up(FOLDER, library, log)
    trial = quick(Case("trial"))
    assert trial is not None
    result = run_case(trial, [found.backend], 1, Equipment(BUILT / "generator", library, None, log), say)
    for reason in (*result.wrong().values(), *result.failed.values()):
        raise Failed(reason)
    return found


def attempt(make: Callable[[], Thing], what: str, remarks: list[str]) -> Thing | None:
    say(f"setting up {what} (fetched once, then kept in {FOLDER})")
    try:
        return make()
    except Failed as failure:
        remarks.append(f"without {what}: {failure}")
        say(remarks[-1])
        return None


def problems(results: Sequence[CaseResult]) -> bool:
    """Wrong answers of anybody, since then no figure means anything; failures of ours, not of a tool."""
    ours = [set(result.failed) & {OURS, FLOOR} for result in results if not result.case.by_perf_analyzer]
    return any(ours) or any(result.wrong() for result in results)


def write(
    output: Path,
    results: Sequence[CaseResult],
    contenders: Sequence[Backend],
    remarks: list[str],
    load: float,
) -> None:
    everything: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "version": triton_python.__version__,
        "server": str(triton_python.find_server().source),
        "machine": machine.facts(),
        "load_average": {"before": load, "after": machine.load()},
        "pythons": {backend.name: backend.python for backend in contenders if backend.python},
        "remarks": remarks,
        "notes": notes(results),
        "cases": [result.as_json() for result in results],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    names = [backend.name for backend in contenders]
    output.with_suffix(".md").write_text(markdown(results, names))


def show(results: Sequence[CaseResult], contenders: Sequence[Backend], remarks: list[str]) -> None:
    print_table(results, [backend.name for backend in contenders])
    print(machine.sentence(machine.facts()))
    for backend in contenders:
        if backend.python:
            print(f"{backend.name}: {backend.python}")
    for remark in remarks:
        print(remark)


def load_remark(before: float) -> str:
    cores = machine.facts()["cores"]
    busy = ", so other work was in the way of the figures" if before > cores / 2 else ""
    return f"load average {before:.1f} before, on {cores} cores{busy}; {machine.load():.1f} after"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
