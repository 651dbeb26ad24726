"""The results for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from comparison.backends import FLOOR, OURS, UPSTREAM
from comparison.results import CaseResult, Spread, short

WIDTH = 190
NOTHING = "-"


def print_table(results: Sequence[CaseResult], backends: Sequence[str]) -> None:
    # A row is one line; a terminal that is narrower breaks it.
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("case", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for name in backends:
        table.add_column(f"{name}\nmedian \\[min..max]", justify="right", no_wrap=True)
    if UPSTREAM in backends:
        table.add_column("ours / upstream", justify="right", no_wrap=True)
        table.add_column("target", justify="right", no_wrap=True)
    if FLOOR in backends:
        table.add_column("ours / floor", justify="right", no_wrap=True)
    table.add_column(f"CPU µs per inference\n{' / '.join(backends)}", justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_cells(result, backends))
    console.print(table)
    for line in notes(results):
        console.print(line, markup=False, soft_wrap=True)


def markdown(results: Sequence[CaseResult], backends: Sequence[str]) -> str:
    """The same for docs/benchmarks.md."""
    head = ["case", "figure", *backends, *(["ours / upstream", "target"] if UPSTREAM in backends else [])]
    head += [*(["ours / floor"] if FLOOR in backends else []), f"CPU µs: {' / '.join(backends)}"]
    rows = [head, ["---"] * len(head), *(_cells(result, backends) for result in results)]
    return "".join(f"| {' | '.join(row)} |\n".replace("\\[", "[") for row in rows)


def notes(results: Sequence[CaseResult]) -> list[str]:
    """A line for everything that is no figure."""
    lines = []
    for result in results:
        for what, found in (
            ("refused", result.refused),
            ("FAILED", result.failed),
            ("WRONG", result.wrong()),
        ):
            lines += [f"{result.case.name}: {backend} {what}: {why}" for backend, why in found.items()]
    return lines


def _cells(result: CaseResult, backends: Sequence[str]) -> list[str]:
    cells = [result.case.name, result.case.metric.unit]
    cells += [_figure(result, name) for name in backends]
    if UPSTREAM in backends:
        ratio = result.ratio(OURS, UPSTREAM)
        cells += [_ratio(ratio), _target(result, ratio)]
    if FLOOR in backends:
        cells.append(_ratio(result.ratio(OURS, FLOOR)))
    cells.append(" / ".join(_cpu(result, name) for name in backends))
    return cells


def _figure(result: CaseResult, backend: str) -> str:
    spread = result.spread(backend)
    if spread is None:
        return "refused" if backend in result.refused else "failed" if backend in result.failed else NOTHING
    return _spread(spread)


def _spread(spread: Spread) -> str:
    return f"{short(spread.median)} \\[{short(spread.least)}..{short(spread.most)}]"


def _ratio(ratio: Spread | None) -> str:
    return NOTHING if ratio is None else _spread(ratio)


def _target(result: CaseResult, ratio: Spread | None) -> str:
    if result.case.target is None:
        return ""
    sign = "≤" if result.case.metric.lower_is_better else "≥"
    met = "" if ratio is None else " met" if result.case.meets_target(ratio.median) else " missed"
    return f"{sign} {result.case.target:g}{met}"


def _cpu(result: CaseResult, backend: str) -> str:
    spread = result.spread(backend, "cpu_us")
    return NOTHING if spread is None else short(spread.median)
