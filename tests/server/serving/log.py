"""The server's log, taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from serving.server import TritonServer
from serving.waiting import wait_until

# I1120 07:24:34.411429 1234 model.py:23] "text", the text as JSON.
_LINE = re.compile(r'([IWE])\d{4} [\d:.]+ \d+ (.+?):(\d+)\] (".*")')


class LogLine(NamedTuple):
    level: str
    """`I`, `W` or `E`; verbose lines have `I`, too."""
    source: str
    """A file, or `<instance> stdout`."""
    number: int
    text: str

    @property
    def short(self) -> tuple[str, str]:
        return self.level, self.text


def log_lines(server: TritonServer, *sources: str, start: int = 0) -> list[LogLine]:
    """The lines of these sources, or all, from this place in the log on."""
    marks = [f" {source}:" for source in sources] or [""]
    candidates = (line for line in server.log()[start:].splitlines() if any(mark in line for mark in marks))
    found = map(_LINE.fullmatch, candidates)
    lines = [LogLine(line[1], line[2], int(line[3]), _text(line[4])) for line in found if line is not None]
    return [line for line in lines if not sources or line.source in sources]


def model_lines(server: TritonServer, start: int = 0) -> list[LogLine]:
    """The lines that models log themselves."""
    return log_lines(server, "model.py", start=start)


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def wait_for_lines(
    server: TritonServer, *sources: str, until: Callable[[list[LogLine]], object], start: int = 0
) -> list[LogLine]:
    """The lines of these sources, from this place in the log on, as soon as they are as they are to be."""
    latest: list[LogLine] = []

    def look() -> object:
        latest[:] = log_lines(server, *sources, start=start)
        return until(latest)

    try:
        wait_until(f"lines of {' and '.join(sources)} in the log", look)
    except AssertionError as error:
        raise AssertionError(f"{error}: {latest[-20:]}") from None
    return latest


def _text(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted
