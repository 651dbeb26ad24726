"""Calls from forked children of a model: each has a channel of its own, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, WAITING, ask, caller
from serving.client import Client
from serving.forks import FORKS, held
from serving.repository import identity_config, model_code
from serving.server import TritonServer
from serving.types import Load, Settle

IDENTITY = model_code("identity")

# --- multiprocessing ---

POOL = """
import multiprocessing

def work(argument):
    child, number, size = argument
    got = call(child, {"IN": np.full(size, number, np.int32)})["OUT"]
    return [int(got.size), int(got.sum() // max(got.size, 1)), os.getpid()]
"""


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_pool_calls(load: Load, http: Client, size: int) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    code = caller("""
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(work, [(child, number, told["size"]) for number in range(4)], 2)
    """)
    model = load(code.replace("class TritonPythonModel", POOL + "\n\nclass TritonPythonModel"), CALLER_CONFIG)
    answers = ask(http, model, child=child, size=size)
    assert [(got, number) for got, number, _ in answers] == [(size, number) for number in range(4)]


@pytest.mark.differs("many-forks", run=False)
@pytest.mark.parametrize("size", [1, 20_000])
def test_a_pool_of_processes_calls(load: Load, http: Client, settle: Settle, size: int) -> None:
    """Ten at once, and a second pool after the first."""
    child = load(IDENTITY, identity_config("INT32"))
    code = caller("""
        if told["count"] == 0:
            return []
        with multiprocessing.get_context("fork").Pool(10) as pool:
            return pool.map(work, [(child, number, told["size"]) for number in range(told["count"])], 1)
    """)
    model = load(code.replace("class TritonPythonModel", POOL + "\n\nclass TritonPythonModel"), CALLER_CONFIG)
    settle(model, child)
    for _ in range(2):
        answers = ask(http, model, child=child, count=100, size=size)
        assert [(got, number) for got, number, _ in answers] == [(size, number) for number in range(100)]
        assert len({pid for *_, pid in answers}) > 1


def test_ten_processes_call_at_once(load: Load, http: Client, settle: Settle) -> None:
    """None of them could go on without the others."""
    child = load(
        """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        sizes = [one.inputs()[0].as_numpy() * len(requests) for one in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", size)]) for size in sizes]
""",
        identity_config(
            "INT32",
            max_batch_size=10,
            more="dynamic_batching { preferred_batch_size: [ 10 ] max_queue_delay_microseconds: 60000000 }",
        ),
    )
    model = load(
        caller(
            """
            def work(number):
                return lambda: call(child, {"IN": np.array([[number]], np.int32)})["OUT"].tolist()

            started = [self.start(work(number)) for number in range(told["count"])]
            return [self.finish(one) for one in started]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    for _ in range(2):
        assert ask(http, model, child=child, count=10) == [[[number * 10]] for number in range(10)]


@pytest.mark.differs("fork-before-execute")
def test_a_pool_that_was_made_in_initialize_calls_in_execute(load: Load, http: Client) -> None:
    """Its processes were forked when no call was possible yet."""
    child = load(IDENTITY, identity_config("INT32"))
    code = caller(
        """
        return self.pool.map(work, [(child, number, 3) for number in range(told["count"])], 1)
        """,
        """
        def initialize(self, args):
            self.pool = multiprocessing.get_context("fork").Pool(3)
            assert self.pool.map(os.path.basename, ["/a/b"]) == ["b"]
        """,
    )
    model = load(code.replace("class TritonPythonModel", POOL + "\n\nclass TritonPythonModel"), CALLER_CONFIG)
    for _ in range(3):
        answers = ask(http, model, child=child, count=20)
        assert [(got, number) for got, number, _ in answers] == [(3, number) for number in range(20)]


@pytest.mark.parametrize("phase", ["initialize", "finalize"])
def test_no_calls_of_children_outside_of_execute(
    load: Load, http: Client, server: TritonServer, phase: str
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            "return None",
            FORKS
            + f"""
def {phase}(self, args=None):
    print("{phase} said:", self.in_child(lambda: request("{child}", {{"IN": ints(1)}}).exec()), flush=True)
""",
        ),
        CALLER_CONFIG,
    )
    ask(http, model)
    http.unload(model)
    said = [line for line in server.log().splitlines() if f"{phase} said:" in line]
    assert len(said) == 1
    assert "BLS is only supported during the 'execute' function." in said[0]


# --- os.fork ---


def test_threads_of_a_child_call(load: Load, http: Client, settle: Settle) -> None:
    """Whoever calls first."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def work():
                answers = {}

                def one(thread):
                    for number in range(50):
                        sent = np.full(number * 200, thread, np.int32)
                        assert np.array_equal(call(child, {"IN": sent})["OUT"], sent)
                    answers[thread] = number + 1

                threads = [threading.Thread(target=one, args=(thread,)) for thread in range(2)]
                for thread in threads:
                    thread.start()
                one(2)
                for thread in threads:
                    thread.join()
                return sorted(answers.items())

            return [self.in_child(work) for _ in range(told["count"])]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=5) == [[[thread, 50] for thread in range(3)]] * 5


@pytest.mark.ours
def test_threads_of_a_child_share_one_channel(load: Load, http: Client, settle: Settle) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def work():
                def one():
                    call(child, {"IN": ints(1)})

                threads = [threading.Thread(target=one) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                names = (os.readlink(entry.path) for entry in os.scandir("/proc/self/fd"))
                return sum("memfd:" in name for name in names)

            return [self.in_child(work) for _ in range(told["count"])]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=2) == [2, 2], "its parent's and its own"


def test_a_child_and_its_parent_call_at_the_same_time(load: Load, http: Client, settle: Settle) -> None:
    """It is forked while threads of the parent call, and hold whatever locks they hold then."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            over = threading.Event()

            def calling(number):
                while not over.is_set():
                    for size in (1, 5000):
                        sent = np.full(size, number, np.int32)
                        assert np.array_equal(call(child, {"IN": sent})["OUT"], sent)
                return number

            def work(number):
                return lambda: call(child, {"IN": ints(number)})["OUT"].tolist()

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                threads = [pool.submit(calling, number) for number in range(4)]
                try:
                    children = [self.in_child(work(number)) for number in range(told["count"])]
                finally:
                    over.set()
            return [children, [thread.result() for thread in threads]]
            """,
            FORKS,
        ).replace("import os\n", "import concurrent.futures\nimport os\n", 1),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=40) == [[[number] for number in range(40)], [0, 1, 2, 3]]


def test_a_grandchild_calls(load: Load, http: Client, settle: Settle) -> None:
    """Of a child that has called, and of one that has not."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def work(number):
                return lambda: call(child, {"IN": ints(number)})["OUT"].tolist()

            def calls_itself_too():
                return [*work(1)(), *self.in_child(work(2)), *work(3)()]

            def only_its_child_calls():
                return self.in_child(work(4))

            return [
                [self.in_child(calls_itself_too), self.in_child(only_its_child_calls), *work(5)()]
                for _ in range(told["count"])
            ]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=3) == [[[1, 2, 3], [4], 5]] * 3


@pytest.mark.parametrize("size", [10, 20_000, 1 << 20])
def test_a_child_passes_on_its_parents_tensors(load: Load, http: Client, settle: Settle, size: int) -> None:
    """Read before or not, of a request or of a call."""
    child = load(IDENTITY, identity_config("INT32"))
    echo = load(
        IDENTITY.replace('"OUT" + tensor.name()[2:]', '"IN"'), identity_config("INT32").replace("OUT", "IN")
    )
    model = load(
        caller(
            """
            if told["count"] == 0:
                return []
            of_request = pb_utils.get_input_tensor_by_name(self.request, "IN")
            if told["read"]:
                of_request.as_numpy()
            of_call = request(told["echo"], {"IN": of_request}).exec().output_tensors()[0]
            sent = np.arange(told["size"])

            def work(tensor):
                return lambda: bool(np.array_equal(call(child, {"IN": tensor})["OUT"], sent))

            answers = [self.in_child(work(tensor)) for tensor in (of_request, of_call)]
            return [*answers, bool(np.array_equal(of_request.as_numpy(), sent))]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    given = {"IN": np.arange(size, dtype=np.int32)}
    for read in (False, True, False):
        answers = ask(http, model, given, child=child, echo=echo, size=size, count=1, read=read)
        assert answers == [True, True, True]


def test_a_child_that_does_not_call_opens_nothing(
    load: Load, http: Client, server: TritonServer, settle: Settle
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller("return self.in_child(lambda: told['count'])", FORKS),
        CALLER_CONFIG,
    )
    before = settle(model, child)
    for _ in range(3):
        assert ask(http, model, child=child, count=1) == 1
        assert held(server) <= before


def test_an_error_reaches_a_child(load: Load, http: Client, settle: Settle) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def work():
                calls = [{"ZZ": ints(1)}, {"IN": ints(1)}]
                return [text_of(request(child, inputs).exec()) for inputs in calls]

            return self.in_child(work)
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    refused, answered = ask(http, model, child=child, count=1)
    assert "unexpected inference input 'ZZ'" in refused
    assert answered == "no error"


# --- children that die ---


def test_a_child_that_is_killed_in_a_call(
    load: Load, http: Client, server: TritonServer, settle: Settle, repository: Path
) -> None:
    """The model and the server go on, and the other model answers nobody."""
    child = load(WAITING, identity_config("INT32"))
    model = load(
        caller(
            """
            if told["count"] == 0:
                return []
            started = self.start(lambda: call(child, {"IN": ints(1)})["OUT"].tolist())
            began, go = told["folder"] + "/began", told["folder"] + "/go"
            while not os.path.exists(began):
                threading.Event().wait(0.01)
            os.kill(started[0], 9)
            answers = [self.finish(started)]
            open(go, "w").close()
            answers.append(call(child, {"IN": ints(2)})["OUT"].tolist())
            answers.append(self.in_child(lambda: call(child, {"IN": ints(3)})["OUT"].tolist()))
            os.remove(began)
            os.remove(go)
            return answers
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    for _ in range(3):
        answers = ask(http, model, child=child, count=1, folder=str(repository / child))
        assert answers == ["it was killed", [2], [3]]


@pytest.mark.differs("killed-child", run=False)
def test_children_are_killed_and_forked_at_random(load: Load, http: Client, settle: Settle) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def work():
                while True:
                    call(child, {"IN": np.ones(3000, np.int32)})

            for turn in range(told["count"]):
                started = [self.start(work) for _ in range(3)]
                threading.Event().wait(turn % 10 / 100)
                for process, _ in started:
                    os.kill(process, 9)
                assert [self.finish(one) for one in started] == ["it was killed"] * 3
                assert call(child, {"IN": ints(turn)})["OUT"].tolist() == [turn]
            return told["count"]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settle(model, child)
    assert ask(http, model, child=child, count=30) == 30
