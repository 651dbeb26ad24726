"""pb_utils.Logger: a model's lines in the server's log."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
from serving.client import Client
from serving.log import LogLine, log_lines, wait_for_lines
from serving.processes import Process
from serving.repository import config, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
HEAD = """
import atexit
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

Logger = pb_utils.Logger
"""
EXECUTE = (
    HEAD
    + """

class TritonPythonModel:
    def execute(self, requests):
        self.work(requests[0].inputs()[0].as_numpy())
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", request.inputs()[0].as_numpy())])
            for request in requests
        ]

    def work(self, what):
"""
)


def working(body: str) -> str:
    """The code of a model that does `body` for each batch."""
    return EXECUTE + indent(body.strip("\n"), " " * 8) + "\n"


def load_working(load: Load, body: str) -> str:
    return load(working(body), config(*TENSORS))


def said(server: TritonServer, start: int = 0) -> list[LogLine]:
    return log_lines(server, "model.py", start=start)


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


@pytest.fixture
def start(server: TritonServer) -> int:
    """Where this test's part of the log begins."""
    return len(server.log())


# --- what a line looks like ---


def test_each_level_has_its_letter_and_the_callers_line(
    load: Load, http: Client, server: TritonServer, start: int
) -> None:
    model = load_working(
        load,
        """
Logger.log_info("info")
Logger.log_warn("warn")
Logger.log_error("error")
Logger.log("by default")
Logger.log("warning", Logger.WARNING)
Logger.log(message=b"bytes", level=Logger.LogLevel.ERROR)
""",
    )
    http.infer(model, ONE)
    lines = said(server, start)
    assert [line.short for line in lines] == [
        ("I", "info"),
        ("W", "warn"),
        ("E", "error"),
        ("I", "by default"),
        ("W", "warning"),
        ("E", "bytes"),
    ]
    first = EXECUTE.count("\n") + 1
    assert [line.number for line in lines] == list(range(first, first + 6))


def test_the_caller_is_the_innermost_python_function(
    load: Load, http: Client, server: TritonServer, repository: Path, model_name: str, start: int
) -> None:
    write_model(repository, model_name, "def help(log):\n    log('helped')\n", filename="helper.py")
    load_working(load, "import helper; helper.help(Logger.log_info)")
    http.infer(model_name, ONE)
    assert log_lines(server, "helper.py", start=start) == [LogLine("I", "helper.py", 2, "helped")]


def test_texts_arrive_whole_and_harmless(load: Load, http: Client, server: TritonServer, start: int) -> None:
    model = load_working(
        load,
        r"""
Logger.log_info("")
Logger.log_info('with "quotes" and \\ and 100 %s')
Logger.log_info("several\n  lines\tand a tab")
Logger.log_info("ü € 😀")
Logger.log_info("red: \x1b[31m, \x00 and \x9b")
Logger.log_info(b"\xff\xfe ends")
Logger.log_info("file \udcff")
""",
    )
    http.infer(model, ONE)
    assert texts(said(server, start)) == [
        "",
        'with "quotes" and \\ and 100 %s',
        "several\n  lines\tand a tab",
        "ü € 😀",
        "red: \\x1b[31m, \\x00 and \\u009b",
        "\\xff\\xfe ends",
        "file \\udcff",
    ]


def test_a_long_text_is_cut_and_says_so(load: Load, http: Client, server: TritonServer, start: int) -> None:
    model = load_working(load, "Logger.log_info('x' + 'ü' * 1_000_000); Logger.log_info('y' * 65536)")
    http.infer(model, ONE)
    cut, whole = texts(said(server, start))
    assert cut == "x" + "ü" * 32767 + " ... (cut here, of 2000001 bytes)"
    assert whole == "y" * 65536


def test_lines_of_a_batch_come_before_its_answer(
    load: Load, http: Client, server: TritonServer, start: int
) -> None:
    model = load_working(
        load, "for number in range(1000): Logger.log_info(f'line {number}')\nraise ValueError('then this')"
    )
    http.error(model, ONE)
    # The server logs that the batch has failed when it answers it.
    lines = texts(log_lines(server, "model.py", "instance.cc", start=start))
    assert lines[:1000] == [f"line {number}" for number in range(1000)]
    assert "ValueError: then this" in lines[1000]


# --- filtering ---


@contextmanager
def log_settings(server: TritonServer, client: Client, **settings: object) -> Iterator[int]:
    """Changes the settings of the running server for a while; the value is where its log then goes on."""
    before = client.raw.get_log_settings()
    client.raw.update_log_settings(settings)
    try:
        yield len(server.log())
    finally:
        client.raw.update_log_settings({name: before[name] for name in settings})


ALL_LEVELS = """
Logger.log_info("info")
Logger.log_warn("warn")
Logger.log_error("error")
Logger.log_verbose("verbose")
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["info", "warn", "error"]),
        ({"log_verbose_level": 1}, ["info", "warn", "error", "verbose"]),
        ({"log_info": False}, ["warn", "error"]),
        ({"log_warning": False, "log_error": False, "log_verbose_level": 2}, ["info", "verbose"]),
    ],
)
def test_settings_that_change_at_run_time_hold_from_the_next_batch_on(
    load: Load, http: Client, server: TritonServer, settings: dict[str, object], expected: list[str]
) -> None:
    model = load_working(load, ALL_LEVELS)
    with log_settings(server, http, **settings) as start:
        http.infer(model, ONE)
        assert texts(said(server, start)) == expected
    start = len(server.log())
    http.infer(model, ONE)
    assert texts(said(server, start)) == ["info", "warn", "error"]


def test_levels_are_known_before_the_first_batch(start_server: StartServer) -> None:
    server = start_server(options=["--log-verbose=1", "--log-info=false"])
    code = HEAD + "Logger.log_info('info'); Logger.log_verbose('verbose')\nclass TritonPythonModel: pass\n"
    write_model(server.start.repository, "m", code, config(*TENSORS))
    with Client(server) as client:
        client.load("m")
    assert texts(said(server)) == ["verbose"]


# With the server stopped nobody takes what crosses: the ring fills, and lines are lost.
STOPPING = """
if what[0] == 1:
    os.kill(os.getppid(), signal.SIGSTOP)
    try:
        for number in range(COUNT):
            Logger.LOG(f"line {number}")
    finally:
        os.kill(os.getppid(), signal.SIGCONT)
else:
    Logger.log_info("next")
"""
TWO = {"IN": np.array([2], np.int32)}


def test_a_line_of_a_disabled_level_never_leaves_the_process(
    load: Load, http: Client, server: TritonServer, start: int
) -> None:
    model = load_working(load, STOPPING.replace("COUNT", "100_000").replace("LOG", "log_verbose"))
    http.infer(model, ONE)
    http.infer(model, TWO)
    assert texts(said(server, start)) == ["next"]


def test_lines_that_the_server_does_not_take_are_counted(start_server: StartServer) -> None:
    server = start_server(settings={"shm_message_queue_size": "64"})
    code = working(STOPPING.replace("COUNT", "1000").replace("LOG", "log_info"))
    write_model(server.start.repository, "m", code, config(*TENSORS))
    with Client(server) as client:
        client.load("m")
        client.infer("m", ONE)
        shown = texts(said(server))
        assert shown == [f"line {number}" for number in range(len(shown))]
        assert len(shown) >= 64
        start = len(server.log())
        for _ in range(2):
            client.infer("m", TWO)
        lost = (
            f"{1000 - len(shown)} lines that this model logged before this one are lost: the server did not "
            "take them for 5 s"
        )
        assert [line.short for line in said(server, start)] == [("W", lost), ("I", "next"), ("I", "next")]


def test_lines_without_room_in_shared_memory_take_the_way_of_stderr(start_server: StartServer) -> None:
    server = start_server(settings={"shm-max-byte-size": str(4 << 20)})
    body = """
os.kill(os.getppid(), signal.SIGSTOP)
for number in range(100):
    Logger.log_info(f"line {number} " + "x" * 60_000)
"""
    write_model(server.start.repository, "m", working(body), config(*TENSORS))
    with Client(server) as client, ThreadPoolExecutor(1) as pool:
        client.load("m")
        (stub,) = server.stubs()
        asked = pool.submit(_infer, server, "m")
        try:
            # 4 MiB hold some thirty such lines; then a pipe that nobody reads holds one more.
            wait_until("it to be stuck in write(2, ...)", lambda: _system_call(stub).startswith("1 0x2 "))
        finally:
            server.popen.send_signal(signal.SIGCONT)
        asked.result()
        lines = wait_for_lines(server, "model.py", "m_0 stderr", until=lambda now: _count(now) == 100)
    by_channel = [line for line in lines if line.source == "model.py"]
    assert 10 < len(by_channel) < 100
    (pid,) = {line.text.split()[1] for line in lines if line.text.startswith("I ")}
    assert int(pid) == stub.pid


def _infer(server: TritonServer, model: str) -> None:
    with Client(server, "grpc") as client:
        client.infer(model, ONE)


def _system_call(process: Process) -> str:
    """Number and arguments of the system call that its main thread is in."""
    return Path(f"/proc/{process.pid}/syscall").read_text()


def _count(lines: list[LogLine]) -> int:
    return sum("line " in line.text for line in lines)


# --- from where, and when ---


def test_from_many_threads(load: Load, http: Client, server: TritonServer, start: int) -> None:
    model = load_working(
        load,
        """
def talk(thread):
    for number in range(500):
        Logger.log_info(f"{thread} {number}")

threads = [threading.Thread(target=talk, args=[name]) for name in "abcdefgh"]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""",
    )
    http.infer(model, ONE)
    found = [text.split() for text in texts(said(server, start))]
    assert len(found) == 8 * 500
    for thread in "abcdefgh":
        assert [int(number) for name, number in found if name == thread] == list(range(500))


def test_from_a_thread_that_outlives_its_batch(load: Load, http: Client, server: TritonServer) -> None:
    model = load_working(
        load,
        """
def later():
    done.wait()
    Logger.log_info("from the background of " + __file__)

done = threading.Event()
threading.Thread(target=later).start()
threading.Timer(0.2, done.set).start()
""",
    )
    http.infer(model, ONE)
    wait_for_lines(server, "model.py", until=lambda now: any(f"/{model}/" in text for text in texts(now)))


EVERYWHERE = (
    HEAD
    + """
Logger.log_info("import")


class Last:
    def __del__(self):
        Logger.log_info("__del__")


class Ring:
    pass


RING = Ring()
RING.itself, RING.last = RING, Last()  # collected when the interpreter is almost gone
atexit.register(Logger.log_info, "atexit")


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        Logger.log_info("auto_complete_config")
        return config

    def __init__(self):
        Logger.log_info("constructor")

    def initialize(self, args):
        Logger.log_info("initialize")

    def execute(self, requests):
        Logger.log_info("execute")
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("x")) for _ in requests]

    def finalize(self):
        Logger.log_info("finalize")
"""
)


def test_at_every_time_of_a_models_life(load: Load, http: Client, server: TritonServer, start: int) -> None:
    model = load(EVERYWHERE, config(*TENSORS))
    loaded = ["import", "auto_complete_config", "constructor", "initialize"]
    assert texts(said(server, start)) == loaded
    http.error(model, ONE)
    assert texts(said(server, start)) == [*loaded, "execute"]
    http.unload(model)
    last = log_lines(server, "model.py", "?", start=start)
    assert texts(last) == [*loaded, "execute", "finalize", "atexit", "__del__"]
    assert "the stub process of" not in server.log()[start:]


def test_of_a_load_that_fails(http: Client, server: TritonServer, model_name: str, start: int) -> None:
    code = HEAD + "Logger.log_error('about to fail')\nraise ValueError('failed')\n"
    write_model(server.start.repository, model_name, code, config(*TENSORS))
    http.load_error(model_name)
    assert [line.short for line in said(server, start)] == [("E", "about to fail")]


@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_before_a_death(load: Load, http: Client, server: TritonServer, start: int, death: str) -> None:
    body = f"for number in range(500): Logger.log_info(f'line {{number}}')\n{death}"
    model = load_working(load, body)
    http.error(model, ONE)
    wait_until("the sentence about its end", lambda: "the stub process of" in server.log()[start:])
    before = server.log()[start:].partition("the stub process of")[0]
    assert [f'"line {number}"' in before for number in range(500)] == [True] * 500


def test_by_a_thread_that_the_end_of_the_interpreter_interrupts(
    load: Load, http: Client, server: TritonServer, start: int
) -> None:
    model = load(
        HEAD
        + """

def talk():
    while True:
        Logger.log_info("still here")
        for _ in range(1000):  # which the log does not have to show
            Logger.log_verbose("still here")


class TritonPythonModel:
    def initialize(self, args):
        for _ in range(4):
            threading.Thread(target=talk, daemon=True).start()

    def finalize(self):
        Logger.log_info("finalize")
""",
        config(*TENSORS),
    )
    http.unload(model)
    assert "finalize" in texts(said(server, start))
    # It ended by itself, with nothing to complain about.
    assert "the stub process of" not in server.log()[start:]
    assert "did not finish" not in server.log()[start:]


# --- forked children ---


FORKING = {
    "os.fork": """
children = []
for number in range(10):
    child = os.fork()
    if child == 0:
        Logger.log_warn(f"child {number}")
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
""",
    "multiprocessing": """
def say(number):
    Logger.log_warn(f"child {number}")

context = multiprocessing.get_context("fork")
workers = [context.Process(target=say, args=[number]) for number in range(10)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
    assert worker.exitcode == 0, worker.exitcode
""",
}


@pytest.mark.parametrize("how", FORKING)
def test_from_forked_children_while_other_threads_log(
    load: Load, http: Client, server: TritonServer, how: str
) -> None:
    """Whatever lock those threads hold while forking is held in the child for ever."""
    talk = """
stop = threading.Event()

def talk():
    while not stop.is_set():
        Logger.log_info("parent")

talkers = [threading.Thread(target=talk) for _ in range(2)]
for talker in talkers:
    talker.start()
try:
FORK
finally:
    stop.set()
    for talker in talkers:
        talker.join()
"""
    model = load_working(load, talk.replace("FORK", indent(FORKING[how].strip(), " " * 4)))
    http.infer(model, ONE)
    stderr = f"{model}_0 stderr"
    lines = wait_for_lines(server, stderr, until=lambda now: _count_children(now) == 10)
    assert sorted(line.text.split()[-1] for line in lines) == sorted(str(number) for number in range(10))
    for line in lines:
        letter, pid, place, *_ = line.text.split()
        assert (line.level, letter) == ("W", "W")
        assert int(pid) not in {server.pid, os.getpid()}
        assert place.startswith("model.py:")
    # The parent's own lines go on as before.
    again = len(server.log())
    http.infer(model, ONE)
    assert "parent" in texts(said(server, again))


def _count_children(lines: list[LogLine]) -> int:
    return sum("] child " in line.text for line in lines)


def test_forked_children_leave_out_what_the_log_does_not_take(
    load: Load, http: Client, server: TritonServer
) -> None:
    model = load_working(
        load,
        """
child = os.fork()
if child == 0:
    Logger.log_verbose("not this")
    Logger.log_info("but this")
    os._exit(0)
os.waitpid(child, 0)
""",
    )
    http.infer(model, ONE)
    (line,) = wait_for_lines(server, f"{model}_0 stderr", until=lambda now: now)
    assert line.text.startswith("I ")
    assert line.text.endswith("] but this")
