"""What came of the rounds of a case: medians, spreads, ratios."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from comparison.backends import OURS
from comparison.cases import Case


@dataclass(frozen=True)
class Spread:
    """Several figures of one thing."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(figures: list[float]) -> Spread:
        return Spread(statistics.median(figures), min(figures), max(figures))

    def as_json(self) -> dict[str, float]:
        return {"median": self.median, "min": self.least, "max": self.most}


@dataclass
class CaseResult:
    """Grows round by round."""

    case: Case
    reports: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    """Backend -> round -> what was reported."""
    refused: dict[str, str] = field(default_factory=dict)
    """Backend -> why it cannot do this."""
    failed: dict[str, str] = field(default_factory=dict)
    """Backend -> what went wrong."""

    def add(self, backend: str, number: int, report: dict[str, Any]) -> None:
        self.reports.setdefault(backend, {})[number] = report

    def is_hopeless(self, backend: str) -> bool:
        return backend in self.refused or (backend in self.failed and backend not in self.reports)

    def spread(self, backend: str, key: str | None = None) -> Spread | None:
        figures = [
            float(report[key or self.case.metric.key])
            for report in self.reports.get(backend, {}).values()
            if (key or self.case.metric.key) in report
        ]
        return Spread.of(figures) if figures else None

    def ratio(self, of: str, to: str) -> Spread | None:
        """Of the figures of one backend to those of another, each taken in the same round."""
        first, second = self.reports.get(of, {}), self.reports.get(to, {})
        key = self.case.metric.key
        ratios = [first[number][key] / second[number][key] for number in first if number in second]
        return Spread.of(ratios) if ratios else None

    def wrong(self) -> dict[str, str]:
        """Backend -> what was wrong with its answers, for those that gave wrong ones."""
        found = {}
        for backend, rounds in self.reports.items():
            bad = [report for report in rounds.values() if report.get("wrong")]
            if bad:
                count = sum(report["wrong"] for report in bad)
                found[backend] = f"{count} wrong answers, the first: {bad[0]['first_difference']}"
        return found

    def round_line(self, number: int) -> str:
        figures = []
        for backend, rounds in sorted(self.reports.items()):
            if number in rounds:
                figures.append(f"{backend} {short(rounds[number][self.case.metric.key])}")
        others = [*(f"{name} refused" for name in self.refused), *(f"{name} failed" for name in self.failed)]
        return f"{self.case.name}, round {number + 1}, {self.case.metric.unit}: {', '.join(figures + others)}"

    def as_json(self) -> dict[str, Any]:
        backends = {}
        for name, rounds in self.reports.items():
            spread = self.spread(name)
            assert spread is not None
            backends[name] = {"spread": spread.as_json(), "rounds": rounds}
        ratios = {}
        for other in self.reports:
            ratio = self.ratio(OURS, other)
            if other != OURS and ratio is not None:
                ratios[other] = ratio.as_json()
        return {
            "case": self.case.name,
            "payload": self.case.payload,
            "size": self.case.size,
            "clients": self.case.clients,
            "metric": self.case.metric.key,
            "target": self.case.target,
            "backends": backends,
            "ours_to": ratios,
            "refused": self.refused,
            "failed": self.failed,
            "wrong": self.wrong(),
        }


def short(figure: float) -> str:
    """Three digits that matter, thousands as k."""
    if figure >= 10_000:
        return f"{figure / 1000:.3g}k" if figure < 1_000_000 else f"{figure / 1000:.0f}k"
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"
