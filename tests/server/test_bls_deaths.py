"""Processes that die, and models that are unloaded, while one model calls another."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, WAITING, ask, caller
from serving.client import LOADED, Client
from serving.processes import Process
from serving.repository import identity_config, instance_group, model_code, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

IDENTITY = model_code("identity")
ONE = {"IN": np.array([1], np.int32)}
CALLING = caller('return call(child, {"IN": ints(5)})["OUT"].tolist()')
SAYING = caller('return text_of(request(child, {"IN": ints(5)}).exec())')


def not_healthy(model: str) -> str:
    return f"Stub process '{model}_0' is not healthy."


class Waiting:
    """A loaded model that begins with a request and waits until it is let go."""

    def __init__(self, server: TritonServer, name: str) -> None:
        self.name = name
        self.folder = server.start.repository / name

    def await_begin(self) -> Process:
        pid = wait_until("the other model to begin", lambda: self._read())
        process = Process.of(int(pid))
        assert process is not None
        return process

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def again(self) -> None:
        for name in ("began", "go"):
            (self.folder / name).unlink(missing_ok=True)

    def _read(self) -> str:
        try:
            return (self.folder / "began").read_text()
        except FileNotFoundError:
            return ""


@pytest.fixture
def waiting(server: TritonServer, load: Load) -> Iterator[Waiting]:
    model = Waiting(server, load(WAITING, identity_config("INT32")))
    yield model
    model.let_go()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def asking(pool: ThreadPoolExecutor, server: TritonServer, model: str, **told: object) -> Future[object]:
    """A client of its own that asks; the text of its error, if it gets one."""

    def run() -> object:
        with Client(server) as client:
            try:
                return ask(client, model, **told)
            except InferenceServerException as error:
                return str(error.message())

    return pool.submit(run)


def stub_of(server: TritonServer, http: Client, load: Load, code: str) -> tuple[str, Process]:
    before = server.stubs()
    model = load(code, CALLER_CONFIG)
    (stub,) = set(server.stubs()) - set(before)
    return model, stub


def comes_back(http: Client, model: str, child: str) -> None:
    http.unload(model)
    http.load(model)
    assert ask(http, model, child=child) == [5]


# --- the caller ---


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=lambda number: number.name)
def test_a_caller_that_is_killed(
    load: Load,
    server: TritonServer,
    http: Client,
    pool: ThreadPoolExecutor,
    waiting: Waiting,
    number: signal.Signals,
) -> None:
    """Its client hears of it at once; the other model's answer is nobody's."""
    model, stub = stub_of(server, http, load, CALLING)
    answer = asking(pool, server, model, child=waiting.name)
    waiting.await_begin()
    os.kill(stub.pid, number)
    assert str(answer.result()).startswith(not_healthy(model))
    waiting.let_go()
    assert http.infer(waiting.name, ONE)["OUT"].tolist() == [1]
    comes_back(http, model, waiting.name)


def test_a_caller_that_leaves_in_the_middle_of_calls(
    load: Load, server: TritonServer, http: Client, waiting: Waiting
) -> None:
    model = load(
        caller("""
            if not os.path.exists(told["repository"] + "/left"):
                for _ in range(20):
                    threading.Thread(target=call, args=(child, {"IN": ints(1)}), daemon=True).start()
                while not os.path.exists(f"{told['repository']}/{child}/began"):
                    threading.Event().wait(0.01)
                open(told["repository"] + "/left", "w").close()
                os._exit(3)
            return call(child, {"IN": ints(5)})["OUT"].tolist()
        """),
        CALLER_CONFIG,
    )
    repository = str(server.start.repository)
    told = {"child": waiting.name, "repository": repository}
    with pytest.raises(InferenceServerException, match=not_healthy(model)):
        ask(http, model, **told)
    waiting.let_go()
    http.unload(model)
    http.load(model)
    assert ask(http, model, **told) == [5]


def test_a_caller_is_loaded_anew_while_its_old_call_still_runs(
    load: Load, server: TritonServer, http: Client, pool: ThreadPoolExecutor, waiting: Waiting
) -> None:
    """The old one waits for the other model, which may take its time; the new one does not."""
    model, stub = stub_of(server, http, load, CALLING)
    bystander = load(IDENTITY, identity_config("INT32"))
    answer = asking(pool, server, model, child=waiting.name)
    waiting.await_begin()
    os.kill(stub.pid, signal.SIGKILL)
    assert str(answer.result()).startswith(not_healthy(model))
    server.settle()
    http.raw.unload_model(model)
    http.load(model)
    assert ask(http, model, child=bystander) == [5]
    waiting.let_go()
    assert ask(http, model, child=waiting.name) == [5]


def test_callers_die_again_and_again(
    load: Load, server: TritonServer, http: Client, pool: ThreadPoolExecutor, waiting: Waiting
) -> None:
    """The server's memory, descriptors and threads are as many as before."""
    model = load(CALLING, CALLER_CONFIG)

    def die() -> None:
        waiting.again()
        answer = asking(pool, server, model, child=waiting.name)
        waiting.await_begin()
        for stub in server.stubs():
            if stub.pid != waiting.await_begin().pid:
                os.kill(stub.pid, signal.SIGKILL)
        assert str(answer.result()).startswith(not_healthy(model))
        waiting.let_go()
        http.unload(model)
        http.load(model)

    def used() -> tuple[int, int, int]:
        process = server.process
        ours = [target for target in process.descriptors().values() if not target.startswith("socket")]
        threads = [name for name in process.threads() if name.startswith("tpb-")]
        return len(ours), len(threads), process.maps().count("memfd:")

    die()
    before = used()
    for _ in range(5):
        die()
    wait_until(f"no more than {before} to be in use", lambda: used() <= before)


# --- the model that is called ---


def test_a_called_model_that_is_killed(
    load: Load, server: TritonServer, http: Client, pool: ThreadPoolExecutor, waiting: Waiting
) -> None:
    """The caller gets an error response and goes on."""
    model = load(SAYING, CALLER_CONFIG)
    answer = asking(pool, server, model, child=waiting.name)
    os.kill(waiting.await_begin().pid, signal.SIGKILL)
    assert str(answer.result()).startswith(not_healthy(waiting.name))
    waiting.let_go()
    assert ask(http, model, child=waiting.name) == "no error"


def test_a_called_model_that_leaves(load: Load, http: Client) -> None:
    child = load(
        "import os\n\n\nclass TritonPythonModel:\n    def execute(self, requests):\n        os._exit(1)\n",
        identity_config("INT32"),
    )
    model = load(SAYING, CALLER_CONFIG)
    for _ in range(3):
        assert str(ask(http, model, child=child)).startswith(not_healthy(child))


def test_a_model_that_calls_itself_and_is_killed(
    load: Load, server: TritonServer, http: Client, pool: ThreadPoolExecutor
) -> None:
    """Both instances die: the one that calls and the one that is called."""
    before = server.stubs()
    model = load(
        caller("""
            if "depth" in told:
                open(told["begun"], "w").close()
                threading.Event().wait()
            text = np.frombuffer(json.dumps({"depth": 1, "begun": told["begun"]}).encode(), np.uint8)
            return text_of(request(told["itself"], {"TOLD": text}).exec())
        """),
        CALLER_CONFIG + instance_group(2),
    )
    begun = server.start.repository / model / "begun"
    answer = asking(pool, server, model, itself=model, begun=str(begun))
    wait_until("the inner call", begun.exists)
    for stub in set(server.stubs()) - set(before):
        os.kill(stub.pid, signal.SIGKILL)
    assert "is not healthy." in str(answer.result())


# --- unloading ---


def test_the_called_model_is_unloaded_during_a_call(
    load: Load, server: TritonServer, http: Client, pool: ThreadPoolExecutor, waiting: Waiting
) -> None:
    """It answers first; later calls hear that it is not there, and work again when it is."""
    model, another = load(SAYING, CALLER_CONFIG), load(SAYING, CALLER_CONFIG)
    answer = asking(pool, server, another, child=waiting.name)
    waiting.await_begin()
    server.settle()
    http.raw.unload_model(waiting.name)
    wait_until("the unload to begin", lambda: not http.state(waiting.name).startswith("READY"))
    assert f"Model '{waiting.name}' is not ready." in str(ask(http, model, child=waiting.name))
    assert not answer.done()
    waiting.let_go()
    assert answer.result() == "no error"
    wait_until("its end", lambda: http.state(waiting.name) not in LOADED)
    assert f"Model '{waiting.name}' is not ready." in str(ask(http, model, child=waiting.name))
    http.load(waiting.name)
    assert ask(http, model, child=waiting.name) == "no error"


BACKGROUND = caller(
    """
    if "thread" not in vars(self):
        self.answers = []
        self.thread = threading.Thread(target=self.run, args=(child,), daemon=told["daemon"])
        self.thread.start()
    return self.answers
    """,
    """
    def run(self, child):
        print("answer:", call(child, {"IN": ints(5)})["OUT"].tolist(), flush=True)
        self.answers.append("done")
        if not threading.current_thread().daemon:
            return
        while True:
            call(child, {"IN": ints(6)})
    """,
)


def test_a_thread_that_calls_while_its_model_is_unloaded(
    load: Load, server: TritonServer, http: Client, waiting: Waiting
) -> None:
    """The interpreter waits for such a thread, as it always does; the call is answered."""
    model, stub = stub_of(server, http, load, BACKGROUND)
    ask(http, model, child=waiting.name, daemon=False)
    waiting.await_begin()
    http.raw.unload_model(model)
    wait_until("the unload to begin", lambda: not http.state(model).startswith("READY"))
    assert stub.alive
    waiting.let_go()
    wait_until("its end", lambda: http.state(model) not in LOADED)
    assert not stub.alive
    assert "answer: [5]" in server.log()


@pytest.mark.parametrize("running", [False, True], ids=["waiting for its answer", "calling all the time"])
def test_a_daemon_thread_that_calls_while_its_model_is_unloaded(
    load: Load, server: TritonServer, http: Client, waiting: Waiting, running: bool
) -> None:
    """It ends with its interpreter, in whatever call it is; and that end is an orderly one."""
    model, stub = stub_of(server, http, load, BACKGROUND)
    if running:
        waiting.let_go()
    ask(http, model, child=waiting.name, daemon=True)
    waiting.await_begin()
    if running:
        wait_until("its first answer", lambda: f'{model}_0 stdout:1] "answer: [5]"' in server.log())
    log = len(server.log())
    http.raw.unload_model(model)
    wait_until("the end of its process", lambda: not stub.alive)
    waiting.let_go()
    wait_until("its end", lambda: http.state(model) not in LOADED)
    said = server.log()[log:]
    for word in ("terminate", "abort", "Fatal", "exception", "FATAL", "signal", model + "_0"):
        assert word not in said.replace(f"'{model}' version", "")


def test_the_server_stops_during_a_call(start_server: StartServer) -> None:
    server = start_server()
    write_model(server.start.repository, "waiting", WAITING, identity_config("INT32"))
    write_model(server.start.repository, "caller", BACKGROUND, CALLER_CONFIG)
    waiting = Waiting(server, "waiting")
    with Client(server) as client:
        client.load("waiting")
        client.load("caller")
        ask(client, "caller", child="waiting", daemon=True)
        waiting.await_begin()
    server.settle()
    server.popen.send_signal(signal.SIGTERM)
    waiting.let_go()
    assert server.popen.wait(60) == 0, server.log()


def test_the_server_is_killed_during_calls(start_server: StartServer, tmp_path: Path) -> None:
    """From a stub, and from its forked child: no process of either is left."""
    server = start_server()
    write_model(server.start.repository, "waiting", WAITING, identity_config("INT32", more=instance_group(2)))
    code = caller("""
        if os.fork() == 0:
            call(child, {"IN": ints(1)})
            os._exit(0)
        return call(child, {"IN": ints(1)})["OUT"].tolist()
    """)
    write_model(server.start.repository, "caller", code, CALLER_CONFIG)
    waiting = Waiting(server, "waiting")
    with Client(server) as client:
        client.load("waiting")
        client.load("caller")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ask, client, "caller", child="waiting")
            waiting.await_begin()
            server.kill()
    server.wait_until_nothing_is_left()
