"""What a person sees of a long step: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

STEP = """
from triton_python._progress import Progress

with Progress("packing") as progress:
    for done in range(101):
        progress.update(done * 1000000, 100000000)
"""


def test_a_terminal_has_a_bar_that_goes_when_the_step_ends() -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-I", "-c", STEP], stderr=theirs, env=environ, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert "100.0/100.0 MB" in shown
    assert "━━━━" in shown
    assert "triton-python: " not in shown
    assert shown.rstrip("\r\n").endswith("\x1b[2K")


def test_elsewhere_there_are_a_few_lines() -> None:
    ended = subprocess.run([sys.executable, "-I", "-c", STEP], capture_output=True, text=True, check=True)

    lines = [f"triton-python: packing {percent} % of 100 MB" for percent in (25, 50, 75, 100)]
    assert ended.stderr.splitlines() == lines
    assert ended.stdout == ""
