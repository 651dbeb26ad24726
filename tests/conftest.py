"""Fixtures that every suite may use."""

from __future__ import annotations

from pathlib import Path

import pytest

import triton_python


@pytest.fixture(scope="session")
def triton_server_binary() -> Path:
    """The real server: one that is on this machine, else fetched once into the user's cache.

    Where there is none and none can be fetched, the tests that need it fail; they are not skipped.
    """
    return triton_python.find_server().binary
