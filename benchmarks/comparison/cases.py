"""What is measured: a payload, a number of clients, the figure that counts, the ratio that is aimed at."""

from __future__ import annotations

from dataclasses import dataclass, replace

KB = 1024
MB = 1024 * KB
STRING_BYTES = 16


@dataclass(frozen=True)
class Metric:
    """One of the figures of a run."""

    key: str
    """Its name in what the generator and perf_analyzer report."""
    unit: str
    lower_is_better: bool


LATENCY = Metric("p50_us", "µs (p50)", lower_is_better=True)
THROUGHPUT = Metric("throughput", "infer/s", lower_is_better=False)
LOAD = Metric("load_ms", "ms to READY", lower_is_better=True)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    payload: str = "identity"
    """What the generator asks, and the name of the model that answers it."""
    size: int = 64
    """Bytes of each tensor."""
    clients: int = 1
    metric: Metric = LATENCY
    target: float | None = None
    """Ratio to NVIDIA's backend: at most this where lower is better, at least this otherwise."""
    warm_up_seconds: float = 0.3
    seconds: float = 1.0
    loads: int = 0
    auto_complete: bool = False
    by_perf_analyzer: bool = False
    leaves_out: str = ""
    """A backend that is not measured here."""

    def meets_target(self, ratio: float) -> bool | None:
        if self.target is None:
            return None
        return ratio <= self.target if self.metric.lower_is_better else ratio >= self.target


def _identity(label: str, size: int, clients: int, target: float | None = None) -> Case:
    slow = size >= 64 * MB
    return Case(
        name=f"identity-{label}-c{clients}",
        size=size,
        clients=clients,
        metric=LATENCY if clients == 1 else THROUGHPUT,
        target=target,
        warm_up_seconds=1.0 if slow else 0.3,
        seconds=2.0 if slow else 1.0,
    )


CASES = (
    Case("perf_analyzer-64B-c1", target=0.40, by_perf_analyzer=True),
    Case(
        "perf_analyzer-64B-c8",
        clients=8,
        metric=THROUGHPUT,
        target=2.5,
        by_perf_analyzer=True,
        leaves_out="floor",  # answers so fast that perf_analyzer now and then waits for ever
    ),
    _identity("64B", 64, 1),
    _identity("64B", 64, 8),
    _identity("64KB", 64 * KB, 1),
    _identity("64KB", 64 * KB, 8),
    _identity("1MB", MB, 1),
    _identity("1MB", MB, 8),
    _identity("64MB", 64 * MB, 1, target=0.5),
    _identity("64MB", 64 * MB, 8),
    Case("add_sub-1MB-c1", "add_sub", MB, target=0.2),
    Case("strings-100k-c1", "strings", 100_000 * STRING_BYTES, target=0.2),
    Case("load-auto-complete", metric=LOAD, target=0.2, loads=3, auto_complete=True),
    Case("load-strict", metric=LOAD, loads=3),
)


def quick(case: Case) -> Case | None:
    """A case that takes a moment and shows that everything works; its figures mean nothing."""
    if case.by_perf_analyzer:
        return None
    return replace(
        case,
        size=min(case.size, 4 * MB),
        loads=min(case.loads, 1),
        warm_up_seconds=0.05,
        seconds=0.2,
        target=None,
    )
