"""docs/operations.md and the backend speak of the same metrics and settings."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text()
NAME = re.compile(r"\btriton_python_[a-z_]+\b")


def defined() -> set[str]:
    sources = (ROOT / "backend").glob("*.h")
    return {name for source in sources for name in re.findall(r'"(triton_python_\w+)"', source.read_text())}


def test_every_metric_is_documented_and_no_other() -> None:
    assert len(defined()) > 10
    assert set(NAME.findall(TEXT)) == defined()


def test_every_metric_has_an_alert() -> None:
    (alerts,) = re.findall(r"```yaml\ngroups:(.*?)```", TEXT, re.DOTALL)
    assert set(NAME.findall(alerts)) == defined()
