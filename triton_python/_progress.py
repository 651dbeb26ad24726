"""Tells the person at the terminal what a long step is doing: a bar on a terminal, plain lines elsewhere.

All of it goes to stderr; stdout carries results only.
"""

from __future__ import annotations

from types import TracebackType

from rich import progress as rich_progress
from rich.console import Console

PLAIN_STEP_PERCENT = 25


def say(sentence: str) -> None:
    """One line for the person."""
    # soft_wrap keeps a long path in one piece; markup is off because a path may hold square brackets.
    console = Console(stderr=True, soft_wrap=True, emoji=False, markup=False, highlight=False)
    console.print(f"triton-python: {sentence}")


class Progress:
    """Shows how far one step is, in bytes; a context manager."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._said_percent = 0
        self._console = Console(stderr=True)
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(step, total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Reports `done` of `total` bytes."""
        self._bar.update(self._task, completed=done, total=total)
        percent = 100 * done // total if total else 100
        if not self._console.is_terminal and percent >= self._said_percent + PLAIN_STEP_PERCENT:
            self._said_percent = percent - percent % PLAIN_STEP_PERCENT
            say(f"{self._step} {self._said_percent} % of {total / 1e6:.0f} MB")


class Steps:
    """Shows which step of a long job is running: a line that changes on a terminal, a line each elsewhere."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._step = ""
        self._console = Console(stderr=True)
        self._status = self._console.status(job)

    def __enter__(self) -> Steps:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def step(self, doing: str) -> None:
        """The next step has begun."""
        self._step = doing
        if self._console.is_terminal:
            self._status.update(f"{self._job}: {doing}")
        else:
            say(f"{self._job}: {doing}")

    def update(self, done: int, total: int) -> None:
        """Reports `done` of `total` parts of the step."""
        self._status.update(f"{self._job}: {self._step} ({done} of {total})")
