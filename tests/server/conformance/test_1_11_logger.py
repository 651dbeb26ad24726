"""pb_utils.Logger: a model's lines in the server's log."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import indent

import pytest
from serving.client import Client
from serving.log import LogLine, log_lines, model_lines, texts, wait_for_lines
from serving.repository import write_model
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until
from serving.working import CONFIG, FIRST_LINE, HEAD, ONE, working

# --- what a line looks like ---


def test_each_level_has_its_letter_and_the_callers_line(
    load: Load, http: Client, server: TritonServer, log_start: int
) -> None:
    model = load(
        working("""
Logger.log_info("info")
Logger.log_warn("warn")
Logger.log_error("error")
Logger.log("by default")
Logger.log("warning", Logger.WARNING)
Logger.log(message=b"bytes", level=Logger.LogLevel.ERROR)
"""),
        CONFIG,
    )
    http.infer(model, ONE)
    lines = wait_for_lines(server, "model.py", until=lambda now: len(now) >= 6, start=log_start)
    assert [line.short for line in lines] == [
        ("I", "info"),
        ("W", "warn"),
        ("E", "error"),
        ("I", "by default"),
        ("W", "warning"),
        ("E", "bytes"),
    ]
    assert [line.number for line in lines] == list(range(FIRST_LINE, FIRST_LINE + 6))


def test_the_caller_is_the_innermost_python_function(
    load: Load, http: Client, server: TritonServer, repository: Path, model_name: str, log_start: int
) -> None:
    write_model(repository, model_name, "def help(log):\n    log('helped')\n", filename="helper.py")
    load(working("import helper; helper.help(Logger.log_info)"), CONFIG)
    http.infer(model_name, ONE)
    lines = wait_for_lines(server, "helper.py", until=len, start=log_start)
    assert lines == [LogLine("I", "helper.py", 2, "helped")]


TEXTS = {
    "nothing": ("''", ""),
    "quotes": (r"""'with "quotes" and \\ and 100 %s'""", 'with "quotes" and \\ and 100 %s'),
    "lines": (r"'several\n  lines\tand a tab'", "several\n  lines\tand a tab"),
    "other alphabets": ("'ü € 😀'", "ü € 😀"),
    "bytes": ("b'bytes'", "bytes"),
    "escape sequences": (r"'red: \x1b[31m, \x00 and \x9b'", "red: \\x1b[31m, \\x00 and \\u009b"),
    "bytes that are no text": (r"b'\xff\xfe ends'", "\\xff\\xfe ends"),
    "half a character": (r"'file \udcff'", "file \\udcff"),
}


@pytest.mark.parametrize(
    "what",
    [
        *list(TEXTS)[:5],
        *(pytest.param(what, marks=pytest.mark.differs("log-texts")) for what in list(TEXTS)[5:]),
    ],
)
def test_texts_arrive_whole_and_harmless(
    load: Load, http: Client, server: TritonServer, log_start: int, what: str
) -> None:
    expression, expected = TEXTS[what]
    model = load(working(f"Logger.log_info({expression}); Logger.log_info('the next')"), CONFIG)
    http.infer(model, ONE)
    lines = wait_for_lines(server, "model.py", until=lambda now: len(now) >= 2, start=log_start)
    assert texts(lines) == [expected, "the next"]


@pytest.mark.ours
def test_a_long_text_is_cut_and_says_so(
    load: Load, http: Client, server: TritonServer, log_start: int
) -> None:
    model = load(working("Logger.log_info('x' + 'ü' * 1_000_000); Logger.log_info('y' * 65536)"), CONFIG)
    http.infer(model, ONE)
    cut, whole = texts(model_lines(server, log_start))
    assert cut == "x" + "ü" * 32767 + " ... (cut here, of 2000001 bytes)"
    assert whole == "y" * 65536


@pytest.mark.ours
def test_lines_of_a_batch_come_before_its_answer(
    load: Load, http: Client, server: TritonServer, log_start: int
) -> None:
    body = "for number in range(1000): Logger.log_info(f'line {number}')\nraise ValueError('then this')"
    model = load(working(body), CONFIG)
    http.error(model, ONE)
    # The server logs that the batch has failed when it answers it.
    lines = texts(log_lines(server, "model.py", "instance.cc", start=log_start))
    assert lines[:1000] == [f"line {number}" for number in range(1000)]
    assert "ValueError: then this" in lines[1000]


# --- what it is ---


WRONG = [
    "Logger.log_info, 1",
    "Logger.log_warn, None",
    "Logger.log_error, ['text']",
    "Logger.log_verbose",
    "Logger.log, None, Logger.INFO",
    "Logger.log, 'text', 0",
    "Logger.log, 'text', 'INFO'",
    "Logger.log, 'text', None",
]


@pytest.mark.parametrize("call", WRONG)
def test_what_is_no_text_or_no_level_is_refused(load: Load, http: Client, call: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    assert do(http, model, f"Logger = pb_utils.Logger\nanswer = failure({call})[0]") == "TypeError"


def test_there_is_one_logger_and_it_has_four_levels(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = """
        Logger = pb_utils.Logger
        levels = [Logger.INFO, Logger.WARNING, Logger.ERROR, Logger.VERBOSE]
        answer = [
            [int(one) for one in levels],
            {type(one) for one in levels} == {Logger.LogLevel},
            Logger.INFO == Logger.LogLevel.INFO,
            failure(Logger),
        ]
    """
    no_constructor = ["TypeError", "c_python_backend_utils.Logger: No constructor defined!"]
    assert do(http, model, script) == [[0, 1, 2, 3], True, True, no_constructor]


# --- from where, and when ---


def test_from_many_threads(load: Load, http: Client, server: TritonServer, log_start: int) -> None:
    model = load(
        working("""
def talk(thread):
    for number in range(500):
        Logger.log_info(f"{thread} {number}")

threads = [threading.Thread(target=talk, args=[name]) for name in "abcdefgh"]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""),
        CONFIG,
    )
    http.infer(model, ONE)
    lines = wait_for_lines(server, "model.py", until=lambda now: len(now) >= 8 * 500, start=log_start)
    found = [text.split() for text in texts(lines)]
    assert len(found) == 8 * 500
    for thread in "abcdefgh":
        assert [int(number) for name, number in found if name == thread] == list(range(500))


def test_from_a_thread_that_outlives_its_batch(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        working("""
def later():
    done.wait()
    Logger.log_info("from the background of " + __file__)

done = threading.Event()
threading.Thread(target=later).start()
threading.Timer(0.2, done.set).start()
"""),
        CONFIG,
    )
    http.infer(model, ONE)
    wait_for_lines(server, "model.py", until=lambda now: any(f"/{model}/" in text for text in texts(now)))


EVERYWHERE = (
    HEAD
    + """
if Logger:
    Logger.log_info("said in import")


class Last:
    def __del__(self):
        Logger.log_info("__del__")


class Ring:
    pass


RING = Ring()
RING.itself, RING.last = RING, Last()  # collected when the interpreter is almost gone
atexit.register(lambda: Logger.log_info("atexit"))


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        global Logger
        Logger = pb_utils.Logger
        Logger.log_info("said in auto_complete_config")
        return config

    def __init__(self):
        global Logger
        Logger = pb_utils.Logger
        Logger.log_info("said in constructor")

    def initialize(self, args):
        Logger.log_info("said in initialize")

    def execute(self, requests):
        Logger.log_info("said in execute")
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("x")) for _ in requests]

    def finalize(self):
        Logger.log_info("said in finalize")
"""
)


def test_from_each_part_of_a_model(load: Load, http: Client, server: TritonServer, log_start: int) -> None:
    model = load(EVERYWHERE, CONFIG)
    http.error(model, ONE)
    http.unload(model)

    def missing() -> list[str]:
        log = server.log()[log_start:]
        parts = ("auto_complete_config", "constructor", "initialize", "execute", "finalize")
        return [part for part in parts if f"said in {part}" not in log]

    wait_until("the line of each part", lambda: not missing())


@pytest.mark.ours
def test_at_every_time_of_a_models_life(
    load: Load, http: Client, server: TritonServer, log_start: int
) -> None:
    model = load(EVERYWHERE, CONFIG)
    parts = ("import", "auto_complete_config", "constructor", "initialize")
    loaded = [f"said in {part}" for part in parts]
    assert texts(model_lines(server, log_start)) == loaded
    http.error(model, ONE)
    assert texts(model_lines(server, log_start)) == [*loaded, "said in execute"]
    http.unload(model)
    last = log_lines(server, "model.py", "?", start=log_start)
    assert texts(last) == [*loaded, "said in execute", "said in finalize", "atexit", "__del__"]
    assert "the stub process of" not in server.log()[log_start:]


@pytest.mark.differs("early-log-lines")
def test_of_a_load_that_fails(http: Client, server: TritonServer, model_name: str, log_start: int) -> None:
    code = HEAD + "Logger.log_error('about to fail')\nraise ValueError('failed')\n"
    write_model(server.start.repository, model_name, code, CONFIG)
    http.load_error(model_name)
    assert [line.short for line in model_lines(server, log_start)] == [("E", "about to fail")]


@pytest.mark.ours
@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_before_a_death(load: Load, http: Client, server: TritonServer, log_start: int, death: str) -> None:
    body = f"for number in range(500): Logger.log_info(f'line {{number}}')\n{death}"
    model = load(working(body), CONFIG)
    http.error(model, ONE)
    wait_until("the sentence about its end", lambda: "the stub process of" in server.log()[log_start:])
    before = server.log()[log_start:].partition("the stub process of")[0]
    assert [f'"line {number}"' in before for number in range(500)] == [True] * 500


@pytest.mark.ours
def test_by_a_thread_that_the_end_of_the_interpreter_interrupts(
    load: Load, http: Client, server: TritonServer, log_start: int
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
        Logger.log_info("said in finalize")
""",
        CONFIG,
    )
    http.unload(model)
    assert "said in finalize" in texts(model_lines(server, log_start))
    # It ended by itself, with nothing to complain about.
    assert "the stub process of" not in server.log()[log_start:]
    assert "did not finish" not in server.log()[log_start:]


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


@pytest.mark.ours
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
    model = load(working(talk.replace("FORK", indent(FORKING[how].strip(), " " * 4))), CONFIG)
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
    assert "parent" in texts(model_lines(server, again))


def _count_children(lines: list[LogLine]) -> int:
    return sum("] child " in line.text for line in lines)


@pytest.mark.ours
def test_forked_children_leave_out_what_the_log_does_not_take(
    load: Load, http: Client, server: TritonServer
) -> None:
    model = load(
        working("""
child = os.fork()
if child == 0:
    Logger.log_verbose("not this")
    Logger.log_info("but this")
    os._exit(0)
os.waitpid(child, 0)
"""),
        CONFIG,
    )
    http.infer(model, ONE)
    (line,) = wait_for_lines(server, f"{model}_0 stderr", until=lambda now: now)
    assert line.text.startswith("I ")
    assert line.text.endswith("] but this")
