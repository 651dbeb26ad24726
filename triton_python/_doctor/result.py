"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """The outcome of a check, as the check returns it."""

    status: Status
    found: str
    """What was seen, in a sentence."""
    advice: str = ""
    """What to do; empty when all is well."""


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one of the doctor's checks."""

    name: str
    status: Status
    found: str
    """What was seen, in a sentence."""
    advice: str
    """What to do; empty when all is well."""


def ok(found: str) -> Finding:
    return Finding("ok", found)


def warning(found: str, advice: str) -> Finding:
    return Finding("warning", found, advice)


def failed(found: str, advice: str) -> Finding:
    return Finding("failed", found, advice)


def worst(statuses: Iterable[Status]) -> Status:
    """The status of the whole: failed if one of them is."""
    order: tuple[Status, ...] = ("ok", "warning", "failed")
    return max(statuses, key=order.index, default="ok")
