"""Clients that ask one model again and again, and know each answer beforehand."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from serving.client import PROTOCOLS, Client
from serving.server import TritonServer
from serving.stream import Stream
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

LARGE = 6 << 20  # numbers of four bytes
RESPONSES = 6
# Everybody else gets a turn, too, on a machine with few processors.
PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class Seen:
    """What came of one request: nothing worth a word, a reason, or a wrong answer."""

    begun: float
    error: str | None = None
    wrong: str | None = None

    @property
    def right(self) -> bool:
        return self.error is None and self.wrong is None


class Asker(Protocol):
    """Asks with a number and says what was wrong; raises what the server gives as an error."""

    def __call__(self, model: str, number: int) -> str | None: ...


@dataclass
class Traffic:
    """Runs from `start` to `stop`, with a thread per client."""

    server: TritonServer
    model: str
    clients: Sequence[Callable[[TritonServer, threading.Event, Traffic], None]]
    seen: list[Seen] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __enter__(self) -> Traffic:
        self._threads = [
            threading.Thread(target=client, args=(self.server, self._stop, self)) for client in self.clients
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask(self, asker: Asker) -> None:
        """One request, noted."""
        number = next(self._numbers)
        begun = time.monotonic()
        try:
            seen = Seen(begun, wrong=asker(self.model, number))
        except InferenceServerException as error:
            seen = Seen(begun, error=str(error.message()))
        except Exception as error:  # whatever else it is, it is no answer
            seen = Seen(begun, wrong=repr(error))
        self.seen.append(seen)

    @property
    def errors(self) -> list[str]:
        return [one.error for one in self.seen if one.error is not None]

    @property
    def wrong(self) -> list[str]:
        return [one.wrong for one in self.seen if one.wrong is not None]

    def advance(self, count: int | None = None) -> None:
        """Returns when so many requests that begin from now on have been answered rightly."""
        start = time.monotonic()
        wanted = 2 * len(self.clients) if count is None else count
        wait_until(
            f"{wanted} right answers of '{self.model}'",
            lambda: self.wrong or sum(one.right for one in self.seen if one.begun >= start) >= wanted,
        )


def small(protocol: str) -> Callable[[TritonServer, threading.Event, Traffic], None]:
    return _unary(protocol, lambda number: (number % 50 + 1, None))


def large_inputs(protocol: str) -> Callable[[TritonServer, threading.Event, Traffic], None]:
    return _unary(protocol, lambda number: (LARGE + number % 50, None))


def large_outputs(protocol: str) -> Callable[[TritonServer, threading.Event, Traffic], None]:
    return _unary(protocol, lambda number: (1, LARGE + number % 50))


def _unary(
    protocol: str, sizes: Callable[[int], tuple[int, int | None]]
) -> Callable[[TritonServer, threading.Event, Traffic], None]:
    def run(server: TritonServer, stop: threading.Event, traffic: Traffic) -> None:
        with Client(server, protocol) as client:

            def ask(model: str, number: int) -> str | None:
                size, count = sizes(number)
                inputs = {"IN": np.full(size, number, np.int32)}
                if count is not None:
                    inputs["COUNT"] = np.array([count], np.int32)
                out = client.infer(model, inputs)["OUT"]
                expected = [number * 2 + 1, size, size] if count is None else [number * 2 + 1]
                length = len(expected) if count is None else count
                if out.shape != (length,) or not (out == (expected if count is None else expected[0])).all():
                    return f"{number} was answered with {out[:5]} of {out.shape}"
                return None

            while not stop.is_set():
                traffic.ask(ask)
                stop.wait(PAUSE_SECONDS)

    return run


def streaming(server: TritonServer, stop: threading.Event, traffic: Traffic) -> None:
    with Stream(server) as stream:

        def ask(model: str, number: int) -> str | None:
            inputs = {"IN": np.array([number], np.int32), "COUNT": np.array([RESPONSES], np.int32)}
            stream.send(model, inputs, request=str(number))
            responses = stream.until_final()
            failed = [index for index, one in enumerate(responses) if one.error is not None]
            outs = [one.outputs["OUT"].tolist() for one in responses if one.error is None]
            expected = [[number * 2 + 1 + index] for index in range(RESPONSES)]
            if failed:
                # What had been sent before it, and nothing behind it.
                if failed != [len(responses) - 1] or outs != expected[: len(outs)]:
                    return f"{number} was answered with {outs} and {len(failed)} errors at {failed}"
                raise InferenceServerException(responses[-1].error)
            return None if outs == expected else f"{number} was answered with {outs}"

        while not stop.is_set():
            traffic.ask(ask)
            stop.wait(PAUSE_SECONDS)


SMALL = tuple(small(protocol) for protocol in PROTOCOLS * 2)
LARGE_INPUTS = tuple(large_inputs(protocol) for protocol in PROTOCOLS)
LARGE_OUTPUTS = tuple(large_outputs(protocol) for protocol in PROTOCOLS)
STREAMING = (streaming, streaming)
CALM = tuple(small(protocol) for protocol in PROTOCOLS)
