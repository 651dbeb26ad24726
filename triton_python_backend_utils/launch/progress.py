"""Who hears how far the work on an environment has come: the server, or a progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Hears about work that may take long. This one is deaf; others override what they want to hear.

    An exception that one of these methods raises ends the work, which tidies up after itself.
    """

    def alive(self) -> None:
        """The work goes on. Called often, in loops: to ignore most calls is the callee's part."""

    def advance(self, phase: str, done: int, total: int) -> None:
        """So many bytes of `total` are done in this phase, such as "hashing". A sign of life."""
        self.alive()

    def step(self, text: str) -> None:
        """Something worth a line in the log begins, or was found."""

    def warn(self, text: str) -> None:
        """Something is not as it should be, and the model starts nevertheless."""


@contextmanager
def timed(phase: str, phases: list[tuple[str, float]]) -> Iterator[None]:
    """Adds the phase and how many seconds it took to `phases`, if it comes to its end."""
    start = time.monotonic()
    yield
    phases.append((phase, round(time.monotonic() - start, 3)))
