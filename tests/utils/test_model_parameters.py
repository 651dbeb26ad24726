"""The parameters of a model's configuration that say how its process is looked after."""

from __future__ import annotations

from typing import Any

import pytest

from triton_python_backend_utils import _model_parameters
from triton_python_backend_utils._describe import LoadError
from triton_python_backend_utils._model_parameters import Supervision, read_supervision


def config(**values: str) -> dict[str, Any]:
    return {"parameters": {name: {"string_value": value} for name, value in values.items()}}


def test_without_them_there_is_no_limit_and_no_replay() -> None:
    assert read_supervision({}) == Supervision(0, False)
    assert read_supervision(config(MINE="1")) == Supervision(0, False)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [("1", 1000), ("0.25", 250), ("1e-9", 1), (" 2 ", 2000), ("4000000", 4_000_000_000)],
)
def test_a_limit_is_in_seconds_and_never_rounded_to_none(seconds: str, milliseconds: int) -> None:
    assert read_supervision(config(EXECUTE_TIMEOUT_SECONDS=seconds)).execute_timeout_ms == milliseconds
    assert milliseconds < 2**32


@pytest.mark.parametrize("seconds", ["", "0", "-1", "nan", "inf", "1 s", "4000000.1"])
def test_a_limit_that_is_none_is_refused(seconds: str) -> None:
    with pytest.raises(LoadError, match=rf"EXECUTE_TIMEOUT_SECONDS must be .*, not '{seconds}'\. Correct it"):
        read_supervision(config(EXECUTE_TIMEOUT_SECONDS=seconds))


def test_a_limit_that_is_no_string_is_refused() -> None:
    with pytest.raises(LoadError, match="not ''"):
        read_supervision({"parameters": {"EXECUTE_TIMEOUT_SECONDS": {}}})


@pytest.mark.parametrize(("text", "replays"), [("yes", True), ("no", False)])
def test_replay_is_yes_or_no(text: str, replays: bool) -> None:
    assert read_supervision(config(REPLAY_AFTER_CRASH=text)).replay_after_crash is replays


@pytest.mark.parametrize("text", ["", "true", "YES", "1"])
def test_replay_is_nothing_else(text: str) -> None:
    with pytest.raises(LoadError, match=f"REPLAY_AFTER_CRASH must be 'yes' or 'no', not '{text}'"):
        read_supervision(config(REPLAY_AFTER_CRASH=text))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EXECUTE_TIMEOUT_SECOND", "EXECUTE_TIMEOUT_SECONDS"),
        ("EXECUTION_TIMEOUT_SECONDS", "EXECUTE_TIMEOUT_SECONDS"),
        ("execution_env_path", "EXECUTION_ENV_PATH"),
        ("REPLAY_AFTER_CRASHES", "REPLAY_AFTER_CRASH"),
        ("FORCE_CPU_ONLY_INPUT_TENSOR", "FORCE_CPU_ONLY_INPUT_TENSORS"),
        ("EXECUTE_TIMEOUT_SECONDS", ""),
        ("TIMEOUT", ""),
        ("threshold", ""),
    ],
)
def test_a_slip_of_the_pen_gets_a_warning(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    warnings: list[str] = []

    class Logger:
        log_warn = staticmethod(warnings.append)

    monkeypatch.setattr(_model_parameters, "Logger", Logger)
    read_supervision(config(**{name: "1"}))
    assert len(warnings) == (1 if meant else 0)
    assert not meant or warnings[0].endswith(f"did you mean '{meant}'?")
