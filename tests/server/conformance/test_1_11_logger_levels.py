"""pb_utils.Logger: which lines leave the process, and what becomes of those that the server does not take."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.log import LogLine, model_lines, texts, wait_for_lines
from serving.processes import Process
from serving.repository import write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until
from serving.working import CONFIG, HEAD, ONE, working

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
    model = load(working(ALL_LEVELS), CONFIG)
    with log_settings(server, http, **settings) as start:
        http.infer(model, ONE)
        assert _shown(server, start, len(expected)) == expected
    start = len(server.log())
    http.infer(model, ONE)
    assert _shown(server, start, 3) == ["info", "warn", "error"]


def _shown(server: TritonServer, start: int, count: int) -> list[str]:
    """What the model has logged, as soon as there are so many lines."""
    return texts(wait_for_lines(server, "model.py", until=lambda now: len(now) >= count, start=start))


@pytest.mark.differs("early-log-lines")
def test_levels_are_known_before_the_first_batch(start_server: StartServer) -> None:
    server = start_server(options=["--log-verbose=1", "--log-info=false"])
    code = HEAD + "Logger.log_info('info'); Logger.log_verbose('verbose')\nclass TritonPythonModel: pass\n"
    write_model(server.start.repository, "m", code, CONFIG)
    with Client(server) as client:
        client.load("m")
    assert texts(model_lines(server)) == ["verbose"]


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


@pytest.mark.ours
def test_a_line_of_a_disabled_level_never_leaves_the_process(
    load: Load, http: Client, server: TritonServer, log_start: int
) -> None:
    model = load(working(STOPPING.replace("COUNT", "100_000").replace("LOG", "log_verbose")), CONFIG)
    http.infer(model, ONE)
    http.infer(model, TWO)
    assert texts(model_lines(server, log_start)) == ["next"]


@pytest.mark.ours
def test_lines_that_the_server_does_not_take_are_counted(start_server: StartServer) -> None:
    server = start_server(settings={"shm_message_queue_size": "64"})
    code = working(STOPPING.replace("COUNT", "1000").replace("LOG", "log_info"))
    write_model(server.start.repository, "m", code, CONFIG)
    with Client(server) as client:
        client.load("m")
        client.infer("m", ONE)
        shown = texts(model_lines(server))
        assert shown == [f"line {number}" for number in range(len(shown))]
        assert len(shown) >= 64
        start = len(server.log())
        for _ in range(2):
            client.infer("m", TWO)
        lost = (
            f"{1000 - len(shown)} lines that this model logged before this one are lost: the server did not "
            "take them for 5 s"
        )
        assert [line.short for line in model_lines(server, start)] == [
            ("W", lost),
            ("I", "next"),
            ("I", "next"),
        ]


@pytest.mark.ours
def test_lines_without_room_in_shared_memory_take_the_way_of_stderr(start_server: StartServer) -> None:
    server = start_server(settings={"shm-max-byte-size": str(4 << 20)})
    body = """
os.kill(os.getppid(), signal.SIGSTOP)
for number in range(100):
    Logger.log_info(f"line {number} " + "x" * 60_000)
"""
    write_model(server.start.repository, "m", working(body), CONFIG)
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
