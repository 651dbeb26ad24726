"""`async def execute`: the loop goes on between batches, and whoever waits for an answer gets one."""

from __future__ import annotations

import pytest
from serving.client import Client
from serving.decoupled import CONFIG, ints, model_of, outs
from serving.repository import identity_config
from serving.stream import Stream
from serving.types import Load
from serving.waiting import wait_until

ONE = identity_config("INT32")


def asynchronous(body: str) -> str:
    return "import asyncio\n" + model_of(body)


def test_a_batch_at_a_time(load: Load, client: Client) -> None:
    model = load(
        asynchronous("""
        async def execute(self, requests):
            await asyncio.sleep(0.001)
            return [response(*numbers(request)) for request in requests]
        """),
        ONE,
    )
    for number in range(5):
        assert client.infer(model, ints(number))["OUT"].tolist() == [number]


def test_a_task_goes_on_between_batches(load: Load, http: Client) -> None:
    model = load(
        asynchronous("""
        def initialize(self, args):
            self.count = 0

        async def tick(self):
            while True:
                await asyncio.sleep(0.001)
                self.count += 1

        async def execute(self, requests):
            if numbers(requests[0])[0] == 0:
                self.task = asyncio.get_running_loop().create_task(self.tick())
            return [response(self.count) for request in requests]
        """),
        ONE,
    )
    http.infer(model, ints(0))

    def count() -> int:
        return int(http.infer(model, ints(1))["OUT"][0])

    before = count()
    wait_until("the task to go on", lambda: count() > before + 10)
    http.unload(model)


@pytest.mark.parametrize(
    "raised",
    [
        "ValueError('no')",
        "asyncio.CancelledError",
        pytest.param("SystemExit('no')", marks=pytest.mark.differs("async-exit", run=False)),
    ],
)
def test_an_exception_is_the_answer(load: Load, client: Client, raised: str) -> None:
    model = load(
        asynchronous(f"""
        async def execute(self, requests):
            if numbers(requests[0])[0]:
                raise {raised}
            return [response(1) for _ in requests]
        """),
        ONE,
    )
    name = raised.split("(")[0].split(".")[-1]
    text = f"{name}: no" if "'no'" in raised else f"{name}: "
    assert text in client.error(model, ints(1))
    assert client.infer(model, ints(0))["OUT"].tolist() == [1]


def test_a_decoupled_model_takes_the_next_request_meanwhile(load: Load, stream: Stream) -> None:
    """All of them at the same time, which a batch at a time would never be."""
    model = load(
        asynchronous("""
        def initialize(self, args):
            self.there = 0
            self.all_there = None

        async def execute(self, requests):
            self.all_there = self.all_there or asyncio.Event()
            self.there += len(requests)
            if self.there == 50:
                self.all_there.set()
            await self.all_there.wait()
            for request in requests:
                request.get_response_sender().send(response(*numbers(request)), FINAL)
        """),
        CONFIG,
    )
    for number in range(50):
        stream.send(model, ints(number), request=str(number))
    got = {(one := stream.next()).request: one.outputs["OUT"].tolist() for _ in range(50)}
    assert got == {str(number): [number] for number in range(50)}


@pytest.mark.differs("async-exception", run=False)
def test_an_exception_of_a_decoupled_model_is_an_answer(load: Load, stream: Stream) -> None:
    model = load(
        asynchronous("""
        async def execute(self, requests):
            for request in requests:
                request.get_response_sender().send(response(1))
            await asyncio.sleep(0.01)
            raise ValueError("no more")
        """),
        CONFIG,
    )
    first, second = stream.ask(model, ints())
    assert outs([first]) == [[1]]
    assert str(second.error).startswith(
        f"Failed to process the request(s) for model '{model}_0', message: ValueError: no more"
    )


@pytest.mark.differs("async-exception", run=False)
def test_a_decoupled_model_that_returns_something(load: Load, stream: Stream) -> None:
    model = load(
        asynchronous("""
        async def execute(self, requests):
            return [response(1)]
        """),
        CONFIG,
    )
    (only,) = stream.ask(model, ints())
    assert f"Python model '{model}_0' is using the decoupled mode" in str(only.error)


@pytest.mark.differs("dropped-sender", run=False)
def test_a_decoupled_model_that_forgets_its_request(load: Load, stream: Stream) -> None:
    model = load(
        asynchronous("""
        async def execute(self, requests):
            await asyncio.sleep(0.01)
        """),
        CONFIG,
    )
    (only,) = stream.ask(model, ints())
    assert "without a complete-final flag" in str(only.error)


@pytest.mark.differs("asyncio-import")
def test_the_first_request_does_not_pay_for_asyncio(load: Load, http: Client) -> None:
    """It is there, and its loop runs, when initialize is called."""
    model = load(
        model_of("""
        def initialize(self, args):
            import sys
            self.there = "asyncio" in sys.modules

        async def execute(self, requests):
            return [response(int(self.there)) for _ in requests]
        """),
        ONE,
    )
    assert http.infer(model, ints(1))["OUT"].tolist() == [1]
