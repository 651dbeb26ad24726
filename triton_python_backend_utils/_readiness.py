"""What a model says of itself when the server asks whether it is ready."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ._describe import describe_exception

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# As on the wire.
NOT_READY, READY, FAILED = range(3)


def ready_check(model: object) -> Callable[[], tuple[int, str]] | None:
    """Return what runs the model's `is_ready`, or None when it defines none.

    It runs on any thread and raises nothing: it returns one of the numbers above, and why for FAILED.
    """
    is_ready = getattr(model, "is_ready", None)
    if is_ready is None:
        return None

    def check() -> tuple[int, str]:
        try:
            answer = is_ready()
            if inspect.isawaitable(answer):
                answer = _run(answer)
        except BaseException as error:  # whatever it is, it is not for this thread
            return FAILED, describe_exception(error)
        if not isinstance(answer, bool):
            return FAILED, "is_ready() must return a boolean value"
        return (READY if answer else NOT_READY), ""

    return check


def _run(answer: Awaitable[Any]) -> Any:
    import asyncio  # slow to import, and few models need it

    async def wait() -> Any:
        return await answer

    return asyncio.run(wait())
