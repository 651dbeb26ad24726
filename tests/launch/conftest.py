"""What these tests share lies beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from triton_python_backend_utils.launch.resolve import Settings

# pytest imports the tests without touching sys.path.
sys.path.insert(0, str(Path(__file__).parent))

from hearing import Heard


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "a model"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_directory=tmp_path / "cache", default_python=Path(sys.executable))
