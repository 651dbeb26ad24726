"""The table that a soak under fire ends with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from serving.unrest import CLIENTS, Sample, Tally, Unrest

MIB = 1 << 20
# The first part fills caches and finds the level.
SETTLED_AFTER = 1 / 3


def report(unrest: Unrest, before: Counter[str], after: Counter[str]) -> str:
    """`before` and `after`: what the server holds, such as descriptors."""
    done = ", ".join(f"{count} {what}" for what, count in sorted(unrest.done.items()))
    minutes = unrest.samples[-1].at / 60 if unrest.samples else 0
    lines = [
        f"soak of {minutes:.1f} min under fire, seed {unrest.seed}: {sum(CLIENTS.values())} clients, {done}"
    ]
    row = "  {:<14}{:>9}{:>9}{:>8}{:>7}{:>11}{:>8}{:>8}"
    lines.append(row.format("model", "sent", "right", "failed", "wrong", "recovered", "p50 s", "p99 s"))
    for model, tally in [*sorted(unrest.tallies.items()), ("all", total(unrest))]:
        times = [
            f"{percentile(tally.recoveries, part):.2f}" if tally.recoveries else "-" for part in (50, 99)
        ]
        counts = (tally.sent, tally.right, sum(tally.failed.values()), tally.wrong, len(tally.recoveries))
        lines.append(row.format(model, *counts, *times))
    reasons = ", ".join(f"{reason} {count}" for reason, count in total(unrest).failed.most_common())
    lines.append(f"  failed because: {reasons or '-'}")
    lines += [f"  {line}" for line in memory_lines(unrest.samples)]
    lines += [f"  {what} of the server: {before[what]} before, {after[what]} after" for what in before]
    return "\n".join(lines)


def total(unrest: Unrest) -> Tally:
    whole = Tally()
    for one in unrest.tallies.values():
        whole.sent += one.sent
        whole.right += one.right
        whole.wrong += one.wrong
        whole.failed += one.failed
        whole.recoveries += one.recoveries
    return whole


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * part / 100) - 1)]


def slope(samples: Sequence[Sample], values: Sequence[int]) -> float:
    """MiB per hour, by least squares over the later part."""
    start = int(len(samples) * SETTLED_AFTER)
    hours = np.array([one.at / 3600 for one in samples[start:]])
    if len(hours) < 3:
        return math.nan
    return float(np.polyfit(hours, np.array(values[start:]) / MIB, 1)[0])


def memory_lines(samples: Sequence[Sample]) -> Iterator[str]:
    kinds = {
        "server": [one.memory.server for one in samples],
        "shared memory": [one.memory.shared for one in samples],
        "surviving process": [one.survivors for one in samples],
    }
    for name, values in kinds.items():
        settled = values[int(len(values) * SETTLED_AFTER)]
        yield (
            f"{name}: {settled / MIB:.0f} MiB after a third, {values[-1] / MIB:.0f} MiB at the end, "
            f"{slope(samples, values):+.1f} MiB per hour"
        )
