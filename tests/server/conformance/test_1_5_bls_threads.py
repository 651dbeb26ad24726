"""Many calls: from threads, of models that call models, of models that call themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, WAITING, ask, caller
from serving.client import Client
from serving.repository import config, identity_config, instance_group, model_code, write_model
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

IDENTITY = model_code("identity")
ADDING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0].as_numpy()) for request in requests]

    def one(self, array):
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array + 1)])
"""
# Runs `work(number)` on so many threads at once; the first exception of one is the caller's.
THREADS = """
def on_threads(self, count, work):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))
"""


def test_one_execute_may_make_many_calls(load: Load, http: Client) -> None:
    """More than there are places in the rings and slots for calls."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller("""
            for number in range(3000):
                size = number % 7000 if number % 50 == 0 else 3
                got = call(child, {"IN": np.full(size, number, np.int32)})["OUT"]
                assert got.size == size and (got == number).all(), number
            return number
        """),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == 2999


@pytest.mark.parametrize("instances", [1, 2])
def test_threads_get_the_answers_to_their_own_calls(load: Load, http: Client, instances: int) -> None:
    child = load(IDENTITY, identity_config("INT32", more=instance_group(instances)))
    model = load(
        caller(
            """
            def work(thread):
                for number in range(50):
                    size = (thread * 37 + number * 101) % 9000
                    sent = np.full(size, thread * 1000 + number, np.int32)
                    assert np.array_equal(call(child, {"IN": sent})["OUT"], sent), (thread, number)
                return thread

            return self.on_threads(16, work)
            """,
            THREADS,
        ),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == list(range(16))


def test_calls_of_threads_are_batched_by_the_other_model(load: Load, http: Client) -> None:
    child = load(
        """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        size = np.array([[len(requests)]], np.int32)
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUT", one.inputs()[0].as_numpy()), pb_utils.Tensor("SIZE", size)]
            )
            for one in requests
        ]
""",
        config(
            {"IN": ("INT32", [-1])},
            {"OUT": ("INT32", [-1]), "SIZE": ("INT32", [1])},
            max_batch_size=8,
            more="dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 10000000 }",
        ),
    )
    model = load(
        caller(
            """
            def work(thread):
                got = call(child, {"IN": np.full((1, 5), thread, np.int32)})
                return [got["OUT"].tolist(), int(got["SIZE"][0, 0])]

            return self.on_threads(8, work)
            """,
            THREADS,
        ),
        CALLER_CONFIG,
    )
    assert ask(http, model, child=child) == [[[[thread] * 5], 8] for thread in range(8)]


def test_more_calls_at_once_than_there_are_slots(load: Load, http: Client, repository: Path) -> None:
    """Those without a slot wait for one."""
    child = load(WAITING, identity_config("INT32"))
    model = load(
        caller(
            """
            def work(thread):
                if thread == told["count"] - 1:
                    open(told["go"], "w").close()
                return int(call(child, {"IN": ints(thread)})["OUT"][0])

            return self.on_threads(told["count"], work)
            """,
            THREADS,
        ),
        CALLER_CONFIG,
    )
    answers = ask(http, model, child=child, count=1100, go=str(repository / child / "go"))
    assert answers == list(range(1100))


def test_calls_between_requests(load: Load, http: Client) -> None:
    """A thread of the model calls while no request is executed."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            if "child" not in vars(self):
                self.child, self.count = child, 0
                threading.Thread(target=self.run, daemon=True).start()
            return self.count
            """,
            """
            def run(self):
                while True:
                    self.count += int(call(self.child, {"IN": ints(1)})["OUT"][0])
            """,
        ),
        CALLER_CONFIG,
    )
    first = ask(http, model, child=child)
    wait_until("more calls", lambda: ask(http, model, child=child) > first + 20)


def test_a_coroutine_may_call(load: Load, http: Client) -> None:
    child = load(ADDING, identity_config("INT32"))
    model = load(
        f"""
import asyncio

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def execute(self, requests):
        return await asyncio.gather(*(asyncio.to_thread(self.one, request) for request in requests))

    def one(self, request):
        return pb_utils.InferenceRequest(
            inputs=request.inputs(), requested_output_names=["OUT"], model_name="{child}"
        ).exec()
""",
        identity_config("INT32"),
    )
    for number in range(5):
        assert http.infer(model, {"IN": np.array([number], np.int32)})["OUT"].tolist() == [number + 1]


# --- models that call models that call models ---

PASSING_ON = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        return pb_utils.InferenceRequest(
            inputs=request.inputs(), requested_output_names=["OUT"], model_name="NEXT"
        ).exec()
"""
REFUSING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        error = pb_utils.TritonError("the last one says no", pb_utils.TritonError.NOT_FOUND)
        return [pb_utils.InferenceResponse(error=error) for _ in requests]
"""


@pytest.mark.parametrize("size", [1, 20_000, 1 << 20])
def test_a_chain_of_models(load: Load, client: Client, size: int) -> None:
    last = load(ADDING, identity_config("INT32"))
    for _ in range(3):
        last = load(PASSING_ON.replace("NEXT", last), identity_config("INT32"))
    for number in range(5):
        sent = np.arange(size, dtype=np.int32) + number
        assert np.array_equal(client.infer(last, {"IN": sent})["OUT"], sent + 1)


def test_an_error_travels_through_a_chain(load: Load, http: Client) -> None:
    last = load(REFUSING, identity_config("INT32"))
    for _ in range(2):
        last = load(PASSING_ON.replace("NEXT", last), identity_config("INT32"))
    assert http.error(last, {"IN": np.array([1], np.int32)}) == "the last one says no"


@pytest.mark.newer("25.04")
def test_the_code_of_an_error_travels_with_it(load: Load, http: Client) -> None:
    last = load(REFUSING, identity_config("INT32"))
    for _ in range(2):
        last = load(PASSING_ON.replace("NEXT", last), identity_config("INT32"))
    assert http.failure(last, {"IN": np.array([1], np.int32)}).status() == "404"


def test_a_diamond_of_models(load: Load, http: Client) -> None:
    """Two models, called at once from threads, call the same third."""
    bottom = load(ADDING, identity_config("INT32"))
    sides = [load(PASSING_ON.replace("NEXT", bottom), identity_config("INT32")) for _ in range(2)]
    top = load(
        caller(
            """
            def work(number):
                sent = ints(number, number * 2)
                got = call(told["sides"][number % 2], {"IN": sent})["OUT"]
                return got.tolist() == [number + 1, number * 2 + 1]

            return all(self.on_threads(10, work))
            """,
            THREADS,
        ),
        CALLER_CONFIG,
    )
    for _ in range(5):
        assert ask(http, top, sides=sides) is True


def test_a_model_may_call_itself_where_it_has_another_instance(load: Load, http: Client) -> None:
    model = load(
        caller("""
            if told["depth"] == 0:
                return [os.getpid()]
            text = np.frombuffer(json.dumps({**told, "depth": told["depth"] - 1}).encode(), np.uint8)
            answer = call(told["itself"], {"TOLD": text})["ANSWER"]
            return [*json.loads(answer.tobytes()), os.getpid()]
        """),
        CALLER_CONFIG + instance_group(2),
    )
    for _ in range(10):
        inner, outer = ask(http, model, itself=model, depth=1)
        assert inner != outer


def test_clients_and_calls_at_once(load: Load, http: Client, server: TritonServer) -> None:
    """Several clients of several instances whose threads all call the same model."""
    from concurrent.futures import ThreadPoolExecutor

    child = load(ADDING, identity_config("INT32", more=instance_group(2)))
    model = load(
        caller(
            """
            def work(thread):
                return int(call(child, {"IN": ints(told["number"] * 10 + thread)})["OUT"][0])

            return self.on_threads(4, work)
            """,
            THREADS,
        ),
        CALLER_CONFIG + instance_group(2),
    )

    def run(first: int) -> bool:
        with Client(server, ("http", "grpc")[first % 2]) as client:
            return all(
                ask(client, model, child=child, number=number)
                == [number * 10 + thread + 1 for thread in range(4)]
                for number in range(first * 100, first * 100 + 15)
            )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))


# --- the rest of the server ---


def test_a_model_that_takes_long_to_load_holds_up_no_call(
    load: Load, http: Client, server: TritonServer, repository: Path, model_name: str
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    child = load(IDENTITY, identity_config("INT32"))
    model = load(caller('return call(child, {"IN": ints(5)})["OUT"].tolist()'), CALLER_CONFIG)
    refused = load(caller("return text_of(request(child).exec())"), CALLER_CONFIG)
    slow = f"{model_name}_slow"
    code = WAITING.replace(
        "    def execute(self, requests):\n", "        self.execute([])\n\n    def execute(self, requests):\n"
    )
    write_model(repository, slow, code, identity_config("INT32"))

    def load_slow() -> None:
        with Client(server) as client:
            client.load(slow)

    # The server's HTTP front answers nobody else on the thread that loads.
    with ThreadPoolExecutor(1) as pool, Client(server, "grpc") as client:
        loading = pool.submit(load_slow)
        try:
            wait_until("its initialize", lambda: (repository / slow / "began").exists())
            assert ask(client, model, child=child) == [5]
            assert f"Model '{slow}' is not ready." in ask(client, refused, child=slow)
            assert not loading.done()
        finally:
            (repository / slow / "go").touch()
        loading.result()


def test_statistics_count_calls(load: Load, http: Client) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller('return [call(child, {"IN": ints(5)})["OUT"].tolist() for _ in range(7)]'), CALLER_CONFIG
    )

    def counted() -> dict[str, Any]:
        return dict(http.statistics(child)["inference_stats"])

    ask(http, model, child=child)
    wait_until("all of them to be counted", lambda: counted()["success"].get("count", 0) == 7)
    assert counted()["fail"].get("count", 0) == 0
