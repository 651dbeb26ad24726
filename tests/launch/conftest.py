"""What these tests share lies beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# pytest imports the tests without touching sys.path.
sys.path.insert(0, str(Path(__file__).parent))

from hearing import Heard


@pytest.fixture
def heard() -> Heard:
    return Heard()
