"""A soak under fire: processes of models are killed and stopped, models come and go, requests are cancelled.

Each request is counted once: answered rightly, failed for a reason that there was, or wrong.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from tritonclient.utils import InferenceServerException

from serving.client import Client
from serving.decoupled import model_of
from serving.processes import Process
from serving.repository import config, write_model
from serving.server import TritonServer
from serving.soak import CALLS, Call, Memory, status_of, write_models
from serving.stream import Stream

CLIENTS = {"http": 14, "grpc": 10, "stream": 8}
MODELS = ("soak_identity", "soak_caller", "soak_doubler", "soak_keeper", "soak_repeat", "soak_canceller")
# Nobody kills its process, so that there is one whose memory can be watched throughout.
SURVIVOR = "soak_doubler"
GUEST = "soak_guest"
BLOWS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
# Seldom enough that the pause before the next process stays short.
PEACE_SECONDS = (1.0, 5.0)
GUEST_SECONDS = (1.0, 4.0)
STOPPED_SECONDS = (0.1, 1.0)
SAMPLE_SECONDS = 2.0

REPEATING = model_of("""
    def execute(self, requests):
        for request in requests:
            first, count = numbers(request)
            sender = request.get_response_sender()
            for index in range(count):
                if sender.is_cancelled():
                    break
                sender.send(response(first + index))
            sender.send(flags=FINAL)
""")
# It is a model that cancels: Triton 2.51 crashes now and then, with any backend, when clients do over gRPC.
CANCELLING = model_of("""
    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        first, count = numbers(request)
        called = pb_utils.InferenceRequest(
            model_name="soak_repeat",
            inputs=[pb_utils.Tensor("IN", np.array([first, count + 200], np.int32))],
            requested_output_names=["OUT"],
        )
        seen = []
        responses = called.exec(decoupled=True)
        for one in responses:
            if one.has_error():
                return pb_utils.InferenceResponse(error=one.error())
            seen += [int(tensor.as_numpy()[0]) for tensor in one.output_tensors()]
            if len(seen) > count:
                break
        responses.cancel()
        return response(*seen)
""")
REPEAT_CONFIG = config(
    {"IN": ("INT32", [2])}, {"OUT": ("INT32", [-1])}, more="model_transaction_policy { decoupled: true }"
)

# The first that fits.
REASONS = {
    "died too often": r"Stub process '.+' is not healthy\..* the next try is in",
    "no process in time": r"Stub process '.+' is not healthy\..* A new one is being started",
    "its process died": r"Stub process '.+' is not healthy\. It (was killed by|was ended|exited with).*$",
    "not loaded": rf"unknown model: '{GUEST}'|'{GUEST}'.*(no available versions|not at ready state)",
}


@dataclass
class Tally:
    """What came of the requests to one model."""

    sent: int = 0
    right: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the death of a process to the answer of the next request that was right."""
    deaths: list[float] = field(default_factory=list)
    """When processes died for which there was no such answer yet."""


@dataclass
class Sample:
    """At one moment: seconds since the start, and bytes."""

    at: float
    memory: Memory
    survivors: int


@dataclass
class Unrest:
    """What was seen."""

    server: TritonServer
    seed: int
    tallies: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    """Blows, loads, unloads and cancelled requests."""
    samples: list[Sample] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def prepare(self) -> None:
        repository = self.server.start.repository
        write_models(repository)
        write_model(repository, "soak_repeat", REPEATING, REPEAT_CONFIG)
        two_numbers = config({"IN": ("INT32", [2])}, {"OUT": ("INT32", [-1])})
        write_model(repository, "soak_canceller", CANCELLING, two_numbers)
        numbers = config({"IN": ("FP32", [-1])}, {"OUT": ("FP32", [-1])})
        write_model(repository, GUEST, (repository / "soak_keeper" / "1" / "model.py").read_text(), numbers)
        with Client(self.server) as client:
            for model in MODELS:
                client.load(model)

    def run(self, minutes: float) -> None:
        """Returns after so many minutes, or sooner when something is wrong."""
        works: list[Callable[[int], None]] = [self._strike, self._come_and_go]
        works += [self._asking("http")] * CLIENTS["http"] + [self._asking("grpc")] * CLIENTS["grpc"]
        works += [self._stream] * CLIENTS["stream"]
        threads = [
            threading.Thread(target=self._guarded, args=(work, self.seed + index))
            for index, work in enumerate(works)
        ]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        try:
            while time.monotonic() < begun + minutes * 60 and not self.wrong and not self.server.ended:
                self._stop.wait(SAMPLE_SECONDS)
                self.samples.append(
                    Sample(time.monotonic() - begun, Memory.of(self.server), self._survivors_memory())
                )
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    # --- requests ---

    def _guarded(self, work: Callable[[int], None], seed: int) -> None:
        try:
            work(seed)
        except Exception as error:  # not of a request: those are counted where they are sent
            self.wrong.append(f"{work} (seed {seed}): {error!r}")

    def _asking(self, protocol: str) -> Callable[[int], None]:
        def run(seed: int) -> None:
            choice, numbers = random.Random(seed), np.random.default_rng(seed)
            calls: list[tuple[str, Call]] = [*CALLS, (GUEST, guest), ("soak_canceller", self._cancel)]
            with Client(self.server, protocol) as client:
                while not self._stop.is_set():
                    model, call = choice.choice(calls)
                    self._count(model, lambda call=call: call(client, choice, numbers))

        return run

    def _stream(self, seed: int) -> None:
        """A stream for some requests, and then another one."""
        choice = random.Random(seed)
        while not self._stop.is_set():
            with Stream(self.server) as stream:
                for _ in range(choice.randint(1, 20)):
                    self._count("soak_repeat", lambda: repeat(stream, choice))
                    if self._stop.is_set():
                        break

    def _cancel(self, client: Client, choice: random.Random, numbers: np.random.Generator) -> None:
        first, count = choice.randrange(1 << 20), choice.randint(0, 20)
        out = client.infer("soak_canceller", {"IN": np.array([first, count], np.int32)})["OUT"].tolist()
        assert out == list(range(first, first + count + 1)), f"{out} from {first} on"
        self.done["cancels"] += 1

    def _count(self, model: str, request: Callable[[], None]) -> None:
        begun = time.monotonic()
        reason = wrong = None
        try:
            request()
        except InferenceServerException as error:
            text = str(error.message())
            reason = next((name for name, pattern in REASONS.items() if re.search(pattern, text)), None)
            wrong = None if reason else text
        except Exception as error:  # whatever it is, it is an answer that was not right
            wrong = repr(error)
        with self._lock:
            tally = self.tallies[model]
            tally.sent += 1
            if wrong is not None:
                tally.wrong += 1
                self.wrong.append(f"{model}: {wrong}")
            elif reason is not None:
                tally.failed[reason] += 1
            else:
                tally.right += 1
                now = time.monotonic()
                tally.recoveries += [now - at for at in tally.deaths if at <= begun]
                tally.deaths = [at for at in tally.deaths if at > begun]

    # --- blows ---

    def _strike(self, seed: int) -> None:
        choice = random.Random(seed)
        while not self._stop.wait(choice.uniform(*PEACE_SECONDS)):
            victims = {one.pid: model for one, model in self._processes() if model not in (SURVIVOR, GUEST)}
            if not victims:
                continue
            pid, model = choice.choice(sorted(victims.items()))
            blow = choice.choice(BLOWS)
            with suppress(ProcessLookupError):  # it has just died
                os.kill(pid, blow)
                self.done[blow.name] += 1
                if blow == signal.SIGSTOP:
                    time.sleep(choice.uniform(*STOPPED_SECONDS))
                    os.kill(pid, signal.SIGCONT)
                else:
                    with self._lock:
                        self.tallies[model].deaths.append(time.monotonic())

    def _come_and_go(self, seed: int) -> None:
        choice = random.Random(seed)
        with Client(self.server) as client:
            while not self._stop.is_set():
                client.load(GUEST)
                self.done["loads"] += 1
                # Triton 2.51 may crash when a model goes in the moment in which it has come.
                self._stop.wait(choice.uniform(*GUEST_SECONDS))
                client.raw.unload_model(GUEST)
                self.done["unloads"] += 1
                self._stop.wait(choice.uniform(*GUEST_SECONDS))

    def _processes(self) -> list[tuple[Process, str]]:
        found = []
        for stub in self.server.stubs():
            command = stub.command()
            found += [(stub, model) for model in (*MODELS, GUEST) if model in command]
        return found

    def _survivors_memory(self) -> int:
        return sum(
            status_of(stub.pid).get("RssAnon", 0) for stub, model in self._processes() if model == SURVIVOR
        )


def guest(client: Client, choice: random.Random, numbers: np.random.Generator) -> None:
    array = numbers.random(7 * choice.randint(1, 1000), dtype=np.float32)
    out = client.infer(GUEST, {"IN": array})["OUT"]
    assert out.tobytes() == (array + 1).tobytes(), "other numbers"


def repeat(stream: Stream, choice: random.Random) -> None:
    first, count = choice.randrange(1 << 20), choice.randint(0, 40)
    stream.send("soak_repeat", {"IN": np.array([first, count], np.int32)})
    responses = stream.until_final()
    outs = [one.outputs["OUT"].tolist() for one in responses if one.error is None]
    assert outs == [[first + index] for index in range(len(outs))], f"{outs} from {first} on"
    if len(outs) < len(responses):
        assert responses[-1].error is not None, "an answer behind an error"
        raise InferenceServerException(responses[-1].error)
    assert len(outs) == count, f"{len(outs)} responses instead of {count}"
