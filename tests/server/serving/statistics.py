"""A model's statistics, which the server counts after it has answered."""

from __future__ import annotations

from typing import Any

from serving.client import Client
from serving.waiting import wait_until


def number(statistics: dict[str, Any], *path: str) -> int:
    value: Any = statistics
    for name in path:
        value = value.get(name, 0) if isinstance(value, dict) else value
    return int(value)


def count(statistics: dict[str, Any], what: str) -> int:
    return number(statistics, "inference_stats", what, "count")


def statistics_after(http: Client, model: str, requests: int, executions: int) -> dict[str, Any]:
    """The model's statistics, which follow its answers: those of so many requests in so many executions."""

    def seen() -> dict[str, Any] | None:
        now: dict[str, Any] = http.statistics(model)
        told = count(now, "success") + count(now, "fail")
        return now if (told, number(now, "execution_count")) == (requests, executions) else None

    return wait_until(f"statistics of {requests} requests in {executions} executions", seen)
