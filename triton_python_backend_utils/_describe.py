"""The text by which a client, and the server's log, learn of an exception in a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PACKAGE = Path(__file__).parent
_OWN_FILES = f"{_PACKAGE}/"
_CALLERS_OF_MODELS = tuple(
    str(_PACKAGE / file) for file in ("_model_loader.py", "_readiness.py", "launch/stub_main.py")
)
_IMPORT_SYSTEM = "<frozen importlib"
# An error text travels in gRPC metadata, of which clients accept 8 KiB: a RecursionError must fit.
_DEEPEST, _OUTERMOST = 30, 10


class LoadError(Exception):
    """A load failure whose message is the whole text that the client gets, without a type in front."""


def describe_exception(exc: BaseException) -> str:
    r"""Return `<type>: <message>\n\nAt:\n  <file>(<line>): <function>\n…`, the deepest frame first.

    Frames of this package are left out; without any other frame there is no `At:` part. A `LoadError` is
    described by its message alone.
    """
    if isinstance(exc, LoadError):
        return _encodable(str(exc))
    return _encodable(f"{type(exc).__name__}: {_message(exc)}{_notes(exc)}{_frames(exc)}")


def _message(exc: BaseException) -> str:
    try:
        return str(exc) or "<EMPTY MESSAGE>"
    except Exception as why:  # the model's own __str__ may do anything
        return f"<MESSAGE UNAVAILABLE DUE TO ANOTHER EXCEPTION> ({type(why).__name__})"


def _notes(exc: BaseException) -> str:
    notes = getattr(exc, "__notes__", None)
    if not isinstance(notes, list) or not notes:
        return ""
    return f"\n__notes__ (len={len(notes)}):\n" + "\n".join(str(note) for note in notes)


def _frames(exc: BaseException) -> str:
    lines = [f"  {file}({line}): {function}\n" for file, line, function in _walk(exc)]
    left_out = len(lines) - _DEEPEST - _OUTERMOST
    if left_out > 0:
        lines[_DEEPEST:-_OUTERMOST] = [f"  … {left_out} more frames …\n"]
    return "\n\nAt:\n" + "".join(lines) if lines else ""


def _walk(exc: BaseException) -> Iterator[tuple[str, int, str]]:
    """Yield (file, line, function) from the frame that raised up to where our code called the model's."""
    started = False
    for frame, line in _callers(exc):
        file = frame.f_code.co_filename
        if file in _CALLERS_OF_MODELS:
            return
        # A helper of ours was called by the model, whose line comes next. The import system's frames are
        # where a file that does not exist or does not compile fails; between others they stay.
        if file.startswith(_OWN_FILES) or (not started and file.startswith(_IMPORT_SYSTEM)):
            continue
        started = True
        yield file, line, frame.f_code.co_name


def _callers(exc: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of the traceback from the deepest on, and above each the callers it still knows.

    A finished coroutine or generator has forgotten its caller: there the traceback has the next frame.
    """
    lines: dict[FrameType, int] = {}
    entry = exc.__traceback__
    while entry is not None:
        lines[entry.tb_frame] = entry.tb_lineno
        entry = entry.tb_next
    seen: set[FrameType] = set()
    for start in reversed(list(lines)):
        frame: FrameType | None = start
        while frame is not None and frame not in seen:
            seen.add(frame)
            yield frame, lines.get(frame, frame.f_lineno)
            frame = frame.f_back


def _encodable(text: str) -> str:
    """Escape lone surrogates, which no UTF-8 text may hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
