"""Resolves the environment of a model, as the launcher does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hearing import Heard

from triton_python_backend_utils.launch.problem import EnvironmentProblem
from triton_python_backend_utils.launch.resolve import PARAMETER, Resolved, Settings, resolve


def config(value: str | None) -> dict[str, Any]:
    """A configuration as the server prints it."""
    parameters = {} if value is None else {PARAMETER: {"string_value": value}}
    return {"name": "a model", "parameters": {**parameters, "OTHER": {"string_value": "x"}}}


def resolved(
    value: str | Path | None, model: Path, settings: Settings, heard: Heard | None = None
) -> Resolved:
    """As the launcher asks; what is kept open is closed."""
    heard = heard or Heard()
    text = None if value is None else str(value)
    found = resolve(config(text), model, settings, heard)
    for fd in found.keep_open:
        os.close(fd)
    assert heard.steps[-1].startswith(f"runs in {found.python} ({found.reason})")
    assert heard.warnings == found.warnings
    return found


def refusal(value: str | Path | None, model: Path, settings: Settings) -> str:
    fds = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(EnvironmentProblem) as raised:
        resolve(config(None if value is None else str(value)), model, settings, Heard())
    assert len(list(Path("/proc/self/fd").iterdir())) == fds
    return str(raised.value)
