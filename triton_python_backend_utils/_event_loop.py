"""The asyncio loop of a model whose `execute` is `async def`: on a thread of its own, from batch to batch.

`_core` asks for it when such a model is loaded, so the first request does not pay for the import of asyncio.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class _Outcome:
    """What an awaitable came to, for a thread that waits for it."""

    def __init__(self) -> None:
        self._there = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def set(self, result: Any, error: BaseException | None) -> None:
        self._result, self._error = result, error
        self._there.set()

    def get(self) -> Any:
        self._there.wait()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it refers to this frame
        return self._result


class EventLoop:
    """A running loop. Tasks that a batch leaves behind go on running while the model waits for the next."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="asyncio loop of the model", daemon=True)
        self._thread.start()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for the awaitable, and return or raise what it does."""
        outcome = _Outcome()
        self._start(awaitable, outcome.set)
        return outcome.get()

    def submit(self, awaitable: Awaitable[Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Start it; `done` is called on the loop's thread with what it returned, or with what it raised."""
        self._start(awaitable, done)

    def close(self) -> None:
        """Cancel what still runs, wait for it, and end the thread."""
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _start(self, awaitable: Awaitable[Any], done: Callable[[Any, BaseException | None], None]) -> None:
        def create() -> None:
            task = self._loop.create_task(self._guard(awaitable, done))
            self._tasks.add(task)  # a loop alone holds tasks weakly
            task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(create)

    async def _guard(
        self, awaitable: Awaitable[Any], done: Callable[[Any, BaseException | None], None]
    ) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = await awaitable
        except BaseException as raised:  # SystemExit, too: it would end the loop for everybody
            error = raised
        if os.getpid() != self._process:
            os._exit(0 if error is None else 1)  # the child of an os.fork() in the model: it is done
        try:
            done(result, error)
        finally:
            del error  # its traceback refers to this frame

    async def _finish(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
