"""The text of a model's exception, as clients match on it.

Everything is raised through a function that the loader calls: the text ends where our own code begins.
"""

from __future__ import annotations

from typing import Any, Callable

import pytest

from triton_python_backend_utils import _model_loader as loader
from triton_python_backend_utils._model_config import ModelConfig


def raise_in_model(function: Callable[[], object]) -> str:
    """Have the loader call a model that calls `function`, and describe what comes out."""

    class TritonPythonModel:
        @staticmethod
        def auto_complete_config(config: ModelConfig) -> object:
            return function()

    try:
        loader.auto_complete(TritonPythonModel, '{"name": "m"}', "m")
    except BaseException as error:
        return loader.describe_exception(error)
    pytest.fail("nothing was raised")


def at(*places: tuple[Callable[..., Any], int]) -> str:
    """The `At:` part for (function, lines below its `def`), and the model's line that called the first."""
    lines = [f"  {__file__}({f.__code__.co_firstlineno + below}): {f.__name__}\n" for f, below in places]
    model = f"  {__file__}({raise_in_model.__code__.co_firstlineno + 6}): auto_complete_config\n"
    return "\n\nAt:\n" + "".join(lines) + model


def deep() -> None:
    raise ValueError("a\nb")


def outer() -> None:
    deep()


def cleans_up() -> None:
    try:
        deep()
    finally:
        print("elsewhere")


def translates() -> None:
    try:
        deep()
    except ValueError as error:
        raise KeyError("k") from error


def raises_again() -> None:
    try:
        deep()
    except ValueError as error:
        print("elsewhere")
        raise error


async def awaited() -> None:
    raise ValueError("in a coroutine")


async def awaits() -> None:
    await awaited()


def drives() -> None:
    awaits().send(None)


def test_deepest_frame_comes_first_and_callers_follow() -> None:
    assert raise_in_model(outer) == "ValueError: a\nb" + at((deep, 1), (outer, 1))


def test_line_is_that_of_the_call_not_of_the_clean_up() -> None:
    assert raise_in_model(cleans_up) == "ValueError: a\nb" + at((deep, 1), (cleans_up, 2))


def test_only_the_last_of_chained_exceptions_is_told() -> None:
    assert raise_in_model(translates) == "KeyError: 'k'" + at((translates, 4))


def test_exception_raised_again_keeps_its_place() -> None:
    assert raise_in_model(raises_again) == "ValueError: a\nb" + at((deep, 1), (raises_again, 2))


def test_awaiting_coroutines_are_callers() -> None:
    expected = "ValueError: in a coroutine" + at((awaited, 1), (awaits, 1), (drives, 1))

    assert raise_in_model(drives) == expected


def test_type_is_told_without_module_and_outer_class() -> None:
    class Special(Exception):
        pass

    assert loader.describe_exception(Special("x")) == "Special: x"


def test_exception_without_traceback_has_no_at_part() -> None:
    assert loader.describe_exception(ValueError("x")) == "ValueError: x"


def test_missing_message_is_told() -> None:
    assert loader.describe_exception(ValueError()) == "ValueError: <EMPTY MESSAGE>"


def test_broken_str_is_told() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    text = loader.describe_exception(Broken())

    assert text == "Broken: <MESSAGE UNAVAILABLE DUE TO ANOTHER EXCEPTION> (RuntimeError)"


def test_notes_follow_the_message() -> None:
    error = ValueError("x")
    vars(error)["__notes__"] = ["one", "two"]  # add_note() is newer than our oldest Python

    assert loader.describe_exception(error) == "ValueError: x\n__notes__ (len=2):\none\ntwo"


def test_lone_surrogate_is_escaped() -> None:
    assert loader.describe_exception(ValueError("\udc80")) == "ValueError: \\udc80"


def test_our_own_frames_are_left_out() -> None:
    def contradicts() -> None:
        ModelConfig('{"name": "m", "max_batch_size": 2}').set_max_batch_size(1)

    text = raise_in_model(contradicts)

    assert text.startswith("ValueError: configuration specified max_batch_size 2")
    assert text.endswith(at((contradicts, 1)))


def test_load_error_is_told_by_its_message_alone() -> None:
    assert loader.describe_exception(loader.LoadError("just this")) == "just this"


def test_endless_recursion_fits_into_grpc_metadata() -> None:
    def forever() -> None:
        forever()

    text = raise_in_model(forever)

    assert text.startswith("RecursionError: ")
    assert " more frames …\n" in text
    assert text.endswith(at((forever, 1), (forever, 1)).partition("At:\n")[2])
    assert text.count("\n") < 50
