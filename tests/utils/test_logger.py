"""Logger in plain Python, where its lines go to the `logging` module."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triton_python_backend_utils import Logger

LOGGER = "triton_python_backend_utils"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """Level and text of what was logged."""
    caplog.set_level(logging.DEBUG, LOGGER)
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_each_level_has_its_method(lines: Callable[[], list[tuple[str, str]]]) -> None:
    Logger.log_info("one")
    Logger.log_warn("two")
    Logger.log_error("three")
    Logger.log_verbose("four")

    assert lines() == [("INFO", "one"), ("WARNING", "two"), ("ERROR", "three"), ("DEBUG", "four")]


def test_log_takes_a_level(lines: Callable[[], list[tuple[str, str]]]) -> None:
    Logger.log("one")
    Logger.log("two", Logger.VERBOSE)
    Logger.log(message="three", level=Logger.LogLevel.WARNING)
    Logger.log("four", level=Logger.ERROR)

    assert lines() == [("INFO", "one"), ("DEBUG", "two"), ("WARNING", "three"), ("ERROR", "four")]


def test_levels_have_the_documented_numbers() -> None:
    levels = [Logger.INFO, Logger.WARNING, Logger.ERROR, Logger.VERBOSE]

    assert [int(level) for level in levels] == [0, 1, 2, 3]
    assert {type(level) for level in levels} == {Logger.LogLevel}
    assert repr(Logger.WARNING) == "<LogLevel.WARNING: 1>"


def test_line_names_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    def log() -> None:
        Logger.log_error("from here")

    log()

    (record,) = caplog.records
    assert (record.name, record.filename, record.funcName) == (LOGGER, "test_logger.py", "log")
    assert record.lineno == log.__code__.co_firstlineno + 1


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("100 % of %s", "100 % of %s"),
        ("über\n\tzwei", "über\n\tzwei"),
        ("", ""),
        (b"bytes", "bytes"),
        ("ü".encode(), "ü"),
        (b"\xff\x00", "\\xff\x00"),
        ("file\udcff", "file\\udcff"),
        (type("Text", (str,), {})("of a subclass"), "of a subclass"),
    ],
)
def test_message_is_text_or_bytes(
    lines: Callable[[], list[tuple[str, str]]], message: Any, text: str
) -> None:
    Logger.log_info(message)

    assert lines() == [("INFO", text)]


@pytest.mark.parametrize("message", [None, 1, ["text"], ValueError("text")])
@pytest.mark.parametrize("method", ["log", "log_info", "log_warn", "log_error", "log_verbose"])
def test_other_messages_are_type_errors(method: str, message: Any) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        getattr(Logger, method)(message)


@pytest.mark.parametrize("level", [0, "INFO", None, logging.INFO])
def test_other_levels_are_type_errors(level: Any) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        Logger.log("text", level)


def test_it_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="No constructor defined!"):
        Logger()


def test_what_nobody_listens_to_is_filtered(lines: Callable[[], list[tuple[str, str]]]) -> None:
    logging.getLogger(LOGGER).setLevel(logging.WARNING)

    Logger.log_info("no")
    Logger.log_warn("yes")

    assert lines() == [("WARNING", "yes")]


def test_it_works_until_the_interpreter_has_ended(tmp_path: Path) -> None:
    code = """
import atexit
from triton_python_backend_utils import Logger


class Last:
    def __del__(self):
        Logger.log_error("from __del__")


class Ring:
    pass


ring = Ring()
ring.itself, ring.last = ring, Last()  # collected when modules are gone
atexit.register(lambda: Logger.log_error("from atexit"))
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert "from atexit" in result.stderr
    assert "from __del__" in result.stderr
