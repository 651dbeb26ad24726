"""Waiting for something that another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# No test asserts a time: this only ends a test that would hang.
WATCHDOG_SECONDS = 60
LOOK_SECONDS = 0.02


def wait_until(what: str, look: Callable[[], T], seconds: float = WATCHDOG_SECONDS) -> T:
    """Look until the answer is true, and return it; fails, naming `what`, when the watchdog ends the wait."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}; last seen: {found!r}")
        time.sleep(LOOK_SECONDS)
