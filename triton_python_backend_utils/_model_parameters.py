"""The parameters of a model's `config.pbtxt` that say how its process is looked after."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ._core import Logger
from ._describe import LoadError

EXECUTE_TIMEOUT = "EXECUTE_TIMEOUT_SECONDS"
REPLAY = "REPLAY_AFTER_CRASH"
FORCE_CPU = "FORCE_CPU_ONLY_INPUT_TENSORS"
ENVIRONMENT = "EXECUTION_ENV_PATH"

_KNOWN = (EXECUTE_TIMEOUT, REPLAY, FORCE_CPU, ENVIRONMENT)
_ALIKE = 0.85
"""From this ratio of `difflib` on, a name counts as a slip of the pen."""
_LONGEST_SECONDS = 4_000_000
"""In milliseconds it travels as 32 bits."""


class Supervision(NamedTuple):
    """What the server does about a process that is stuck, or dies."""

    execute_timeout_ms: int = 0
    """How long one `execute` may take; 0: for ever."""
    replay_after_crash: bool = False
    """Whether a batch whose process dies is given to the next one, once."""


def read_supervision(config: dict[str, Any]) -> Supervision:
    """Read the parameters of a model configuration; what is not there has its default.

    A parameter that looks like one of ours, misspelt, gets a warning in the log: it may be the model's own.

    Raises:
        LoadError: EXECUTE_TIMEOUT_SECONDS is no positive number, or REPLAY_AFTER_CRASH neither `yes` nor
            `no`.
    """
    parameters: dict[str, dict[str, str]] = config.get("parameters", {})
    for name in parameters:
        _warn_of_a_slip(name)
    return Supervision(
        execute_timeout_ms=_milliseconds(parameters.get(EXECUTE_TIMEOUT)),
        replay_after_crash=_yes_or_no(REPLAY, parameters.get(REPLAY)),
    )


def _warn_of_a_slip(name: str) -> None:
    if name in _KNOWN:
        return
    import difflib  # most models have no other parameters, and it takes milliseconds

    near = difflib.get_close_matches(name.upper(), _KNOWN, n=1, cutoff=_ALIKE)
    if near:
        Logger.log_warn(
            f"the model's parameter '{name}' is none of the backend's: if it is not the model's own, "
            f"did you mean '{near[0]}'?"
        )


def _milliseconds(parameter: dict[str, str] | None) -> int:
    if parameter is None:
        return 0
    text = parameter.get("string_value", "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise LoadError(
            f"{EXECUTE_TIMEOUT} must be a number of seconds above 0 and at most {_LONGEST_SECONDS}, "
            f"not '{text}'. Correct it in config.pbtxt, or remove it: then execute may take as long as it "
            "likes"
        )
    return math.ceil(seconds * 1000)


def _yes_or_no(name: str, parameter: dict[str, str] | None) -> bool:
    text = "no" if parameter is None else parameter.get("string_value", "")
    if text not in ("yes", "no"):
        raise LoadError(f"{name} must be 'yes' or 'no', not '{text}'. Correct it in config.pbtxt")
    return text == "yes"
