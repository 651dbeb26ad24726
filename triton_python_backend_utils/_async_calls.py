"""Calls of other models from an asyncio loop: one thread takes the answers to all calls of an instance.

No thread waits for a call: `async_exec` sends it and gives a future, and the answer rings a bell in shared
memory that the thread sleeps on.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core

if TYPE_CHECKING:
    from ._core import InferenceRequest, _Bell, _Call


class _Waiter(NamedTuple):
    request: InferenceRequest
    call: _Call
    decoupled: bool
    future: asyncio.Future[Any]

    def look(self) -> bool:
        """Whether the answer is there; the future gets it, on its own loop."""
        try:
            result: Any = self.call.result(self.decoupled)
        except Exception as error:  # it is for the caller, and others wait for this thread
            result = error
        if result is not None:
            self.give(result)
        return result is not None

    def give(self, result: Any) -> None:
        try:
            self.future.get_loop().call_soon_threadsafe(_settle, self.future, result)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self.call.cancel()


class _Answers:
    """Of one connection to a server. The thread is a daemon: it ends with the process."""

    @classmethod
    def of(cls, bell: _Bell) -> _Answers:
        """The one of this bell's connection, with its thread running."""
        answers = _answers.get(bell.key()) or _answers.setdefault(bell.key(), cls(bell))
        if next(answers._starts) == 0:  # two threads may come here at once
            threading.Thread(target=answers._run, name="answers of models", daemon=True).start()
        return answers

    def __init__(self, bell: _Bell) -> None:
        self._bell = bell
        self._waiters: list[_Waiter] = []
        self._lock = threading.Lock()
        self._starts = itertools.count()

    def add(self, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters.append(waiter)

    def remove(self, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters = [other for other in self._waiters if other is not waiter]

    def _run(self) -> None:
        while self._bell.wait():
            self._look()
        with self._lock:
            left, self._waiters = self._waiters, []
        for waiter in left:
            waiter.give(_core._failed_call(waiter.request, "the server is gone"))
        _answers.pop(self._bell.key(), None)

    def _look(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        answered = {id(waiter) for waiter in waiters if waiter.look()}
        if answered:
            with self._lock:
                self._waiters = [waiter for waiter in self._waiters if id(waiter) not in answered]


# By the connection that they belong to: a forked child has one of its own, and no thread of its parent's.
_answers: dict[int, _Answers] = {}


def start(request: InferenceRequest, decoupled: bool) -> asyncio.Future[Any]:
    """What `request.async_exec(decoupled)` returns: a future of a response, or of a ResponseIterator.

    Raises:
        RuntimeError: no asyncio loop runs on this thread.
        TritonModelException: outside of execute.
    """
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    bell, call, failure = _core._prepare_call(request, decoupled)
    if bell is None or call is None:
        future.set_result(failure)
        return future
    answers = _Answers.of(bell)
    waiter = _Waiter(request, call, decoupled, future)
    # First, so that no answer comes that nobody looks for.
    answers.add(waiter)
    try:
        call.send()
    except BaseException:
        answers.remove(waiter)
        raise
    future.add_done_callback(lambda done: call.cancel() if done.cancelled() else None)
    return future


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
