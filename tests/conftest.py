"""Fixtures that every suite may use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import triton_python

# pytest imports tests without touching sys.path; what several of them share lies beside them.
sys.path.insert(0, str(Path(__file__).parent / "support"))


@pytest.fixture(scope="session")
def triton_server_binary() -> Path:
    """The real server: one that is on this machine, else fetched once into the user's cache.

    Where there is none and none can be fetched, the tests that need it fail; they are not skipped.
    """
    return triton_python.find_server().binary
