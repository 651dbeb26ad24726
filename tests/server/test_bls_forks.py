"""Calls from forked children of a model: each has a channel of its own, and leaves nothing behind."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, WAITING, ask, caller
from serving.client import Client
from serving.forks import FORKS
from serving.repository import identity_config, model_code
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

IDENTITY = model_code("identity")


def held(server: TritonServer) -> tuple[int, int]:
    """Descriptors and mappings of the server that are memory, or tell of it, or lead to a process."""
    kinds = ("memfd", "eventfd", "pidfd", "socket:")
    targets = server.process.descriptors().values()
    return sum(any(kind in target for kind in kinds) for target in targets), server.process.maps().count(
        "memfd:"
    )


@pytest.fixture(autouse=True)
def _children_leave_nothing(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[None]:
    """Once `load` has settled, a test's calls change nothing of what the server holds."""
    yield
    before = getattr(server, "held_before", None)
    if before is not None:
        wait_until(f"the server to hold no more than {before}", lambda: held(server) <= before)
        server.held_before = None  # type: ignore[attr-defined]


def settled(server: TritonServer, http: Client, model: str, child: str) -> None:
    """From here on the server is to hold no more than now."""
    ask(http, model, child=child, count=0)
    server.held_before = held(server)  # type: ignore[attr-defined]


# --- multiprocessing ---

POOL = """
import multiprocessing

def work(argument):
    child, number, size = argument
    got = call(child, {"IN": np.full(size, number, np.int32)})["OUT"]
    return [int(got.size), int(got.sum() // max(got.size, 1)), os.getpid()]
"""


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_pool_of_processes_calls(load: Load, http: Client, server: TritonServer, size: int) -> None:
    """Ten at once, and a second pool after the first."""
    child = load(IDENTITY, identity_config("INT32"))
    code = caller("""
        if told["count"] == 0:
            return []
        with multiprocessing.get_context("fork").Pool(10) as pool:
            return pool.map(work, [(child, number, told["size"]) for number in range(told["count"])], 1)
    """)
    model = load(code.replace("class TritonPythonModel", POOL + "\n\nclass TritonPythonModel"), CALLER_CONFIG)
    settled(server, http, model, child)
    for _ in range(2):
        answers = ask(http, model, child=child, count=100, size=size)
        assert [(got, number) for got, number, _ in answers] == [(size, number) for number in range(100)]
        assert len({pid for *_, pid in answers}) > 1


def test_ten_processes_call_at_once(load: Load, http: Client, server: TritonServer) -> None:
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
    settled(server, http, model, child)
    for _ in range(2):
        assert ask(http, model, child=child, count=10) == [[[number * 10]] for number in range(10)]


# --- os.fork ---


def test_threads_of_a_child_call(load: Load, http: Client, server: TritonServer) -> None:
    """They share one channel, whoever calls first."""
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
                names = (os.readlink(entry.path) for entry in os.scandir("/proc/self/fd"))
                return [sorted(answers.items()), sum("memfd:" in name for name in names)]

            return [self.in_child(work) for _ in range(told["count"])]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settled(server, http, model, child)
    for answers, memories in ask(http, model, child=child, count=5):
        assert answers == [[thread, 50] for thread in range(3)]
        assert memories == 2, "its parent's and its own"


def test_a_child_and_its_parent_call_at_the_same_time(load: Load, http: Client, server: TritonServer) -> None:
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
    settled(server, http, model, child)
    assert ask(http, model, child=child, count=40) == [[[number] for number in range(40)], [0, 1, 2, 3]]


def test_a_grandchild_calls(load: Load, http: Client, server: TritonServer) -> None:
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
    settled(server, http, model, child)
    assert ask(http, model, child=child, count=3) == [[[1, 2, 3], [4], 5]] * 3


@pytest.mark.parametrize("size", [10, 20_000, 1 << 20])
def test_a_child_passes_on_its_parents_tensors(
    load: Load, http: Client, server: TritonServer, size: int
) -> None:
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
    settled(server, http, model, child)
    given = {"IN": np.arange(size, dtype=np.int32)}
    for read in (False, True, False):
        answers = ask(http, model, given, child=child, echo=echo, size=size, count=1, read=read)
        assert answers == [True, True, True]


def test_a_child_that_does_not_call_opens_nothing(load: Load, http: Client, server: TritonServer) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller("return self.in_child(lambda: told['count'])", FORKS),
        CALLER_CONFIG,
    )
    settled(server, http, model, child)
    for _ in range(3):
        assert ask(http, model, child=child, count=1) == 1
        assert held(server) <= server.held_before  # type: ignore[attr-defined]


def test_an_error_reaches_a_child(load: Load, http: Client, server: TritonServer) -> None:
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
    settled(server, http, model, child)
    refused, answered = ask(http, model, child=child, count=1)
    assert "unexpected inference input 'ZZ'" in refused
    assert answered == "no error"


# --- how many ---


def test_many_children_one_after_another(load: Load, http: Client, server: TritonServer) -> None:
    """More than may call at the same time."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def work(number):
                return lambda: call(child, {"IN": ints(number)})["OUT"].tolist()

            return [self.in_child(work(number)) for number in range(told["count"])]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settled(server, http, model, child)
    assert ask(http, model, child=child, count=150) == [[number] for number in range(150)]


def test_one_child_too_many_is_told_so(
    load: Load, http: Client, server: TritonServer, repository: Path
) -> None:
    """Afterwards there is room again, at once and for as many."""
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            folder = told["folder"]
            os.makedirs(folder, exist_ok=True)

            def calls_and_stays():
                call(child, {"IN": ints(1)})
                open(f"{folder}/called{os.getpid()}", "w").close()
                while not os.path.exists(folder + "/leave"):
                    threading.Event().wait(0.01)
                return "left"

            staying = [self.start(calls_and_stays) for _ in range(min(told["count"], 64))]
            while len(os.listdir(folder)) < len(staying):
                threading.Event().wait(0.01)
            text = self.in_child(lambda: text_of(request(child, {"IN": ints(1)}).exec()))
            own = call(child, {"IN": ints(2)})["OUT"].tolist()
            open(folder + "/leave", "w").close()
            return [text, own, [self.finish(one) for one in staying]]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settled_folder = str(repository / "settled")
    ask(http, model, child=child, count=0, folder=settled_folder)
    server.held_before = held(server)  # type: ignore[attr-defined]
    for turn in range(2):
        text, own, left = ask(http, model, child=child, count=65, folder=str(repository / f"turn{turn}"))
        assert text == (
            f"Model {child} - Error when running inference: 64 forked children of this model already talk to "
            "the server, which is as many as may"
        )
        assert own == [2]
        assert left == ["left"] * 64


def test_the_place_of_a_child_that_has_ended_is_free_at_once(
    load: Load, http: Client, server: TritonServer
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            def calls_and_stays(may_begin, called):
                def work():
                    may_begin.read(1)
                    text = text_of(request(child, {"IN": ints(1)}).exec())
                    os.write(called, (text + ";").encode())
                    threading.Event().wait()
                return work

            texts, before = set(), []
            for _ in range(told["count"]):
                begin, called = os.pipe(), os.pipe()
                may_begin = os.fdopen(begin[0], "rb", 0)
                now = [self.start(calls_and_stays(may_begin, called[1])) for _ in range(64)]
                for process, _ in before:
                    os.kill(process, 9)
                for process, _ in before:
                    os.waitpid(process, 0)
                os.write(begin[1], bytes(64))
                said = b""
                while said.count(b";") < 64:
                    said += os.read(called[0], 65536)
                texts.update(said.decode().split(";"))
                for fd in (begin[1], *called, *(reading for _, reading in now)):
                    os.close(fd)
                may_begin.close()
                before = now
            for process, _ in before:
                os.kill(process, 9)
                os.waitpid(process, 0)
            return sorted(texts)
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settled(server, http, model, child)
    assert ask(http, model, child=child, count=5) == ["", "no error"]


def test_a_server_without_descriptors_refuses_a_child_and_goes_on(
    load: Load, http: Client, server: TritonServer
) -> None:
    child = load(IDENTITY, identity_config("INT32"))
    model = load(
        caller(
            """
            own = call(child, {"IN": ints(1)})["OUT"].tolist()
            return [self.in_child(lambda: text_of(request(child, {"IN": ints(2)}).exec())), own]
            """,
            FORKS,
        ),
        CALLER_CONFIG,
    )
    settled(server, http, model, child)
    assert ask(http, model, child=child) == ["no error", [1]]
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    used = server.process.descriptors()
    free = next(number for number in range(len(used) + 1) if number not in used)
    # None for the child's socket; then one, but none for its memory.
    for more in range(4):
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (free + more, before[1]))
        try:
            text, own = ask(http, model, child=child)
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        assert text.startswith(f"Model {child} - Error when running inference: ") or text == "no error"
        assert more > 0 or "the server closed the connection during the handshake" in text
        assert own == [1]
    assert "the server may not open more files (ulimit -n)" in server.log()
    assert ask(http, model, child=child) == ["no error", [1]]


# --- children that die ---


def test_a_child_that_is_killed_in_a_call(
    load: Load, http: Client, server: TritonServer, repository: Path
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
    settled(server, http, model, child)
    for _ in range(3):
        answers = ask(http, model, child=child, count=1, folder=str(repository / child))
        assert answers == ["it was killed", [2], [3]]


def test_children_are_killed_and_forked_at_random(load: Load, http: Client, server: TritonServer) -> None:
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
    settled(server, http, model, child)
    assert ask(http, model, child=child, count=30) == 30
