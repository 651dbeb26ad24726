"""A crash in the middle of `install` or `uninstall`, at every step that they take in the file system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import interrupting
import pytest


@pytest.mark.parametrize("then", ["install", "uninstall"])
@pytest.mark.parametrize("action", interrupting.ACTIONS)
@pytest.mark.parametrize("file_system", interrupting.FILE_SYSTEMS)
def test_a_crash_leaves_the_old_or_the_new_and_the_next_run_puts_all_in_order(
    tmp_path: Path, file_system: str, action: str, then: str
) -> None:
    command = [sys.executable, interrupting.__file__, str(tmp_path), file_system, action, then]

    result = subprocess.run(command, cwd="/", stderr=subprocess.PIPE, text=True, check=False)

    assert result.returncode == 0, result.stderr
