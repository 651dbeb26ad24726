"""The C++ building blocks of `ipc/`, through a compiled module that is made for these tests alone."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def ipc() -> Any:
    """`_ipc_testing`, from $TPB_IPC_TESTING_DIR or from where `make test` builds it."""
    folder = Path(os.environ.get("TPB_IPC_TESTING_DIR") or REPOSITORY / "build" / "dev" / "tests")
    candidates = [folder / f"_ipc_testing{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        others = ", ".join(sorted(path.name for path in folder.glob("_ipc_testing*"))) or "nothing"
        pytest.fail(
            f"no _ipc_testing for this Python in {folder} (there is {others}): "
            "run `make test`, which builds it, or set TPB_IPC_TESTING_DIR to its folder",
            pytrace=False,
        )
    spec = importlib.util.spec_from_file_location("_ipc_testing", found)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
