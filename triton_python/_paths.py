"""Paths as people type them."""

from __future__ import annotations

import os
from pathlib import Path


def absolute_path(text: str) -> Path:
    """Absolute, without `..`, with `~` expanded, and with links as they are: their names may matter."""
    return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - resolve() would follow links
