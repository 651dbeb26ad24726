"""Unpacks archives that must be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from triton_python_backend_utils.launch.archives import unpack
from triton_python_backend_utils.launch.limits import Limits
from triton_python_backend_utils.launch.problem import EnvironmentProblem


def refusal(archive: Path, limits: Limits | None = None) -> str:
    """Why it is refused. Nothing of it is left, and nothing else has changed beside it."""
    around = archive.parent
    before = {path: path.lstat().st_mtime_ns for path in around.rglob("*")}
    target = around / "unpacked"

    with archive.open("rb", buffering=0) as opened, pytest.raises(EnvironmentProblem) as raised:
        unpack(opened, archive, target, limits)

    assert {path: path.lstat().st_mtime_ns for path in around.rglob("*")} == before
    assert str(archive) in str(raised.value)
    return str(raised.value)
