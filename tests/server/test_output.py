"""What models print: stdout and stderr of their processes, line by line in the server's log."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.log import LogLine, log_lines, texts, wait_for_lines
from serving.processes import Process
from serving.repository import identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until
from serving.working import CONFIG, HEAD, ONE, working


def printed(http: Client, load: Load, server: TritonServer, body: str, count: int) -> list[LogLine]:
    """The first lines, so many, that a model with one instance prints for one request."""
    model = load(working(body), CONFIG)
    http.infer(model, ONE)
    return wait_for_lines(
        server, f"{model}_0 stdout", f"{model}_0 stderr", until=lambda lines: len(lines) >= count
    )


# --- when ---


def test_at_every_time_of_a_models_life(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        HEAD
        + """
print("import")


class Last:
    def __del__(self):
        print("__del__")


LAST = Last()
atexit.register(print, "atexit")


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        print("auto_complete_config")
        return config

    def initialize(self, args):
        print("initialize")

    def execute(self, requests):
        print("execute")
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("x")) for _ in requests]

    def finalize(self):
        print("finalize")
        sys.stdout.write("last words")  # without an end
""",
        CONFIG,
    )
    http.error(model, ONE)
    http.unload(model)
    # The process that completes the configuration is not yet that of an instance.
    assert texts(log_lines(server, f"{model} stdout")) == ["import", "auto_complete_config"]
    lines = log_lines(server, f"{model}_0 stdout")
    assert texts(lines) == ["initialize", "execute", "finalize", "last wordsatexit", "__del__"]
    # Counted on.
    assert [line.number for line in lines] == [3, 4, 5, 6, 7]


def test_stderr_is_a_warning_and_stdout_is_none(load: Load, http: Client, server: TritonServer) -> None:
    lines = printed(http, load, server, "print('out'); print('err', file=sys.stderr)", 2)
    assert sorted((line.level, line.source.split()[-1], line.text) for line in lines) == [
        ("I", "stdout", "out"),
        ("W", "stderr", "err"),
    ]


def test_a_traceback_has_its_lines_in_order(load: Load, http: Client, server: TritonServer) -> None:
    body = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    import traceback; traceback.print_exc()"
    lines = texts(printed(http, load, server, body, 4))
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith('  File "')
    assert lines[2] == "    1 / 0"
    assert lines[-1] == "ZeroDivisionError: division by zero"


DEATHS = {
    "os._exit": (
        "print('before', flush=True); os._exit(3)",
        ["before"],
        "exited with status 3",
    ),
    "a crash": (
        "faulthandler.enable(); ctypes.string_at(0)",
        ["Fatal Python error: Segmentation fault"],
        "was killed by signal 11",
    ),
    "a kill": (
        "sys.stdout.write('no end'); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)",
        ["no end"],
        "was killed by signal 9",
    ),
}


@pytest.mark.parametrize("death", DEATHS)
def test_before_a_death(load: Load, http: Client, server: TritonServer, death: str) -> None:
    body, expected, end = DEATHS[death]
    model = load(working(body), CONFIG)
    http.error(model, ONE)
    wait_until("the sentence about its end", lambda: end in server.log())
    before_the_sentence = server.log().partition(end)[0]
    for text in expected:
        assert f'"{text}' in before_the_sentence


def test_of_a_load_that_fails(http: Client, server: TritonServer, model_name: str) -> None:
    code = HEAD + "print('about to fail')\nsys.stderr.write('without an end')\nraise ValueError('failed')\n"
    write_model(server.start.repository, model_name, code, CONFIG)
    http.load_error(model_name)
    lines = log_lines(server, f"{model_name} stdout", f"{model_name} stderr")
    assert sorted(texts(lines)) == ["about to fail", "without an end"]


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python-of-a-test"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_of_a_process_that_never_says_hello(start_server: StartServer, tmp_path: Path) -> None:
    program = script(tmp_path, "echo this is no python >&2; printf 'not at all'; exit 4")
    server = start_server(settings={"python-executable": program})
    write_model(server.start.repository, "m", model_code("identity"), identity_config())
    with Client(server) as client:
        error = client.load_error("m")
        assert "exited with status 4 before its first message; its output is in the server's log" in error
    lines = log_lines(server, "m stdout", "m stderr")
    assert sorted(line.short for line in lines) == [("I", "not at all"), ("W", "this is no python")]


def test_a_process_that_says_much_before_hello_can_say_hello(
    start_server: StartServer, tmp_path: Path
) -> None:
    """More than a pipe holds, before the server listens to what is printed."""
    program = script(tmp_path, f'seq -f "line %.0f" 0 49999; exec "{sys.executable}" "$@"')
    server = start_server(settings={"python-executable": program})
    write_model(server.start.repository, "m", model_code("identity"), identity_config("INT32"))
    with Client(server) as client:
        client.load("m")
        assert client.infer("m", ONE)["OUT"].tolist() == [1]
    lines = texts(log_lines(server, "m stdout"))
    assert lines == [f"line {number}" for number in range(50_000)]


# --- by whom ---


BY = {
    "a thread": "thread = threading.Thread(target=print, args=['hello']); thread.start(); thread.join()",
    "C": "ctypes.CDLL(None).puts(b'hello'); ctypes.CDLL(None).fflush(None)",
    "a program": "subprocess.run(['echo', 'hello'], check=True)",
    "a forked child": """
child = os.fork()
if child == 0:
    print("hello", flush=True)
    os._exit(0)
os.waitpid(child, 0)
""",
    "multiprocessing": """
worker = multiprocessing.get_context("fork").Process(target=print, args=["hello"])
worker.start()
worker.join()
""",
}


@pytest.mark.parametrize("who", BY)
def test_by(load: Load, http: Client, server: TritonServer, who: str) -> None:
    lines = printed(http, load, server, BY[who], 1)
    assert [line.short for line in lines] == [("I", "hello")]


def test_each_instance_has_its_name(load: Load, http: Client, server: TritonServer) -> None:
    code = HEAD + "\n\nclass TritonPythonModel:\n    def initialize(self, args):\n        print('here')\n"
    model = load(code, CONFIG + "instance_group [ { count: 3 kind: KIND_CPU } ]")
    sources = [f"{model}_0_{number} stdout" for number in range(3)]
    lines = wait_for_lines(server, *sources, until=lambda lines: len(lines) == 3)
    assert sorted(line.source for line in lines) == sources


# --- what ---


WHAT = {
    "bytes that are no text": (r"b'\xff\x00\xfe\n\x80'", ["\\xff\\x00\\xfe", "\\x80"]),
    "escape sequences": (r"b'\x1b[2J\x1b]0;title\x07\xc2\x9b1m\n'", ["\\x1b[2J\\x1b]0;title\\x07\\u009b1m"]),
    "a progress bar": (r"b'\r 10%\r 50%\r100%\n'", [" 10%", " 50%", "100%"]),
    "lines of Windows": (r"b'one\r\ntwo\r\n\r\nthree\r\n'", ["one", "two", "", "three"]),
    "other alphabets": (r"'ü € 😀\n'.encode()", ["ü € 😀"]),
    "quotes": (r"""b'a "b" \\n \\\n'""", ['a "b" \\n \\']),
    "no end": (r"b'loading ...'", ["loading ..."]),
}


@pytest.mark.parametrize("what", WHAT)
def test_what(load: Load, http: Client, server: TritonServer, what: str) -> None:
    expression, expected = WHAT[what]
    body = f"sys.stdout.buffer.write({expression}); sys.stdout.flush()"
    assert texts(printed(http, load, server, body, len(expected))) == expected


def test_a_long_line_comes_in_parts(load: Load, http: Client, server: TritonServer) -> None:
    lines = texts(printed(http, load, server, "print('x' * 99_999 + 'ü')", 7))
    assert "".join(lines) == "x" * 99_999 + "ü"
    assert {len(line) for line in lines[:-1]} == {16384}


def test_a_flood_arrives_whole_and_in_order(load: Load, http: Client, server: TritonServer) -> None:
    body = "for number in range(20_000):\n    print(f'line {number:06} ' + 'x' * 50)"
    lines = texts(printed(http, load, server, body, 20_000))
    assert lines == [f"line {number:06} " + "x" * 50 for number in range(20_000)]


# One request begins it and the last one ends it; it ends by itself before it fills a disk.
FLOODING = """
if what[0] == 1:
    command = ["sh", "-c", "yes " + "y" * 500 + " | head -c 1000000000"]
    FLOODS.append(subprocess.Popen(command, start_new_session=True))
elif what[0] == 3:
    for flood in FLOODS:
        Logger.log_info("it goes on" if flood.poll() is None else "it has ended")
        os.killpg(flood.pid, signal.SIGKILL)
        flood.wait()
else:
    Logger.log_info("answered")
"""


def test_a_flood_does_not_hold_up_requests_and_logger(
    load: Load, http: Client, server: TritonServer, log_start: int
) -> None:
    model = load(working(FLOODING) + "\nFLOODS = []\n", CONFIG)
    try:
        http.infer(model, ONE)
        wait_until("the flood", lambda: f" {model}_0 stdout:1000]" in server.log())
        for _ in range(20):
            http.infer(model, {"IN": np.array([2], np.int32)})
    finally:
        http.infer(model, {"IN": np.array([3], np.int32)})
    assert texts(log_lines(server, "model.py", start=log_start)) == ["answered"] * 20 + ["it goes on"]


# --- pipes ---


def test_a_model_may_close_them(load: Load, http: Client, server: TritonServer) -> None:
    model = load(working("os.close(1); os.close(2)"), CONFIG)
    http.infer(model, ONE)
    # The service thread does not look at them for ever: all threads of the server come to rest.
    server.settle()
    (stub,) = server.stubs()
    assert stub.alive


def test_what_outlives_the_model_holds_nothing_up(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        working(
            """
daemon = subprocess.Popen(["sleep", "86400"], start_new_session=True)
what[0] = daemon.pid
"""
        ),
        CONFIG,
    )
    (pid,) = http.infer(model, ONE)["OUT"].tolist()
    daemon = Process.of(pid)
    assert daemon is not None
    try:
        (stub,) = server.stubs()
        pipes = {daemon.descriptors()[1], daemon.descriptors()[2]}
        os.kill(stub.pid, signal.SIGKILL)
        # Nobody reads them any more, so that it hears of it when it writes, instead of waiting for ever.
        wait_until("the server to close them", lambda: not pipes & set(server.process.descriptors().values()))
        assert daemon.alive
        http.unload(model)
    finally:
        os.kill(pid, signal.SIGKILL)
