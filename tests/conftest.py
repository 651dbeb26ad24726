"""Fixtures that every suite may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import triton_python

# pytest imports tests without touching sys.path; what several of them share lies beside them.
sys.path.insert(0, str(Path(__file__).parent / "support"))

CONFORMANCE = Path(__file__).parent / "server" / "conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=["ours", "upstream"],
        default="ours",
        help="whose Python backend runs the models of tests/server/conformance; upstream is NVIDIA's, of "
        "Triton 2.51, and runs nothing but those tests",
    )
    parser.addoption(
        "--sanitized",
        type=Path,
        metavar="LIBRARY",
        help="the backend's library built with sanitizers (make sanitize-server), for the tests' servers",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With NVIDIA's backend: what is to run there, and what must fail there."""
    if config.getoption("--backend") == "ours":
        return
    chosen = [one for one in items if CONFORMANCE in one.path.parents and not one.get_closest_marker("ours")]
    config.hook.pytest_deselected(items=[one for one in items if one not in set(chosen)])
    items[:] = chosen
    for one in chosen:
        for name in ("differs", "newer"):
            marker = one.get_closest_marker(name)
            if marker is not None:
                reason = f"{name}: {marker.args[0]}"
                one.add_marker(pytest.mark.xfail(reason=reason, strict=True, **marker.kwargs))


@pytest.fixture(scope="session")
def triton_server_binary() -> Path:
    """The real server: one that is on this machine, else fetched once into the user's cache.

    Where there is none and none can be fetched, the tests that need it fail; they are not skipped.
    """
    return triton_python.find_server().binary


@pytest.fixture(scope="session")
def backend_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for --backend-directory, composed as users get it, in a cache of its own."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    try:
        return triton_python.backend_directory(None)
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before
