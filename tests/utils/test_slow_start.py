"""The parts of a start and their seconds, as the log gets them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from triton_python_backend_utils import _slow_start


@pytest.fixture(autouse=True)
def _nothing_noted() -> Iterator[None]:
    _slow_start._phases.clear()
    yield
    _slow_start._phases.clear()


def report(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged; outside a model's process that goes to `logging`."""
    caplog.clear()
    with caplog.at_level("INFO"):
        _slow_start.report_start("m_0")
    return caplog.messages


def test_a_quick_start_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    _slow_start.note_phases([("unpacking", 0.5), ("initialize", 0.4)])
    assert report(caplog) == []


def test_a_slow_start_names_its_long_parts_once(caplog: pytest.LogCaptureFixture) -> None:
    _slow_start.note_phases([("unpacking", 4.14), ("importing torch", 12.4), ("initialize", 0.04)])
    assert report(caplog) == ["'m_0' took 16.6 s to start: unpacking 4.1 s, importing torch 12.4 s"]
    assert report(caplog) == []


def test_a_phase_without_imports_has_all_of_its_time() -> None:
    _slow_start.begin_phase("initialize")
    time.sleep(0.2)
    _slow_start.end_phase()
    assert list(_slow_start._phases) == ["initialize"]
    assert _slow_start._phases["initialize"] >= 0.2


def test_the_end_of_a_phase_ends_its_thread() -> None:
    _slow_start.begin_phase("initialize")
    assert _slow_start._current is not None
    thread = _slow_start._current._thread
    _slow_start.end_phase()
    assert not thread.is_alive()
    _slow_start.end_phase()  # nothing has begun: nothing happens
