"""Programs that are run with signs of life and a limit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from triton_python_backend_utils.launch.processes import Overdue, run


def nothing() -> None: ...


def test_both_outputs_and_the_status_are_kept() -> None:
    ended = run(["sh", "-c", "echo out; echo err >&2; exit 3"], os.environ, nothing)

    assert (ended.status, ended.output, ended.errors) == (3, b"out\n", b"err\n")
    assert ended.how() == "exit status 3"


def test_a_signal_is_told() -> None:
    ended = run(["sh", "-c", "kill -9 $$"], os.environ, nothing)

    assert ended.how() == "killed by signal 9"
    assert ended.last_words() == "it printed nothing"


@pytest.mark.parametrize(
    ("code", "words"),
    [("echo a; echo b", "b"), ("echo a; echo b. >&2", "b"), ("true", "it printed nothing")],
)
def test_the_last_words_are_those_on_stderr(code: str, words: str) -> None:
    assert run(["sh", "-c", code], os.environ, nothing).last_words() == words


def test_more_output_than_a_pipe_holds_is_read() -> None:
    ended = run(["sh", "-c", "head -c 3000000 /dev/zero; head -c 300000 /dev/zero >&2"], os.environ, nothing)

    assert (len(ended.output), len(ended.errors)) == (3_000_000, 300_000)


def test_it_has_the_variables_and_the_folder_that_it_is_given(tmp_path: Path) -> None:
    ended = run(["/bin/sh", "-c", "echo $A; pwd; echo $HOME"], {"A": "b"}, nothing, folder=tmp_path)

    assert ended.output == f"b\n{tmp_path}\n\n".encode()


def test_its_input_is_empty() -> None:
    assert run(["cat"], os.environ, nothing).output == b""


def test_signs_of_life_are_given_while_it_runs() -> None:
    signs: list[float] = []

    run(["sleep", "1.5"], os.environ, lambda: signs.append(time.monotonic()))

    assert len(signs) >= 5
    assert max(late - early for early, late in zip(signs, signs[1:])) < 2


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("closes", ["", ">/dev/null 2>&1"])
def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path, closes: str) -> None:
    code = f"(sleep 600 {closes} & echo $! >{tmp_path}/pid; wait) & wait"

    with pytest.raises(Overdue):
        run(["sh", "-c", code], os.environ, nothing, limit_s=0.5)

    pid = int((tmp_path / "pid").read_text())
    while lives(pid):  # the kernel needs a moment; pytest's watchdog ends this otherwise
        time.sleep(0.01)


def test_what_it_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A service that it started may hold its outputs open for ever."""
    ended = run(["sh", "-c", f"sleep 600 & echo $! >{tmp_path}/pid; echo done"], os.environ, nothing)

    assert ended.output == b"done\n"
    pid = int((tmp_path / "pid").read_text())
    assert lives(pid)
    os.kill(pid, 9)


def test_it_is_ended_when_nobody_listens_any_more(tmp_path: Path) -> None:
    def gone() -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise ConnectionError

    with pytest.raises(ConnectionError):
        run(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 600"], os.environ, gone)

    assert not lives(int((tmp_path / "pid").read_text()))


def test_it_stays_in_our_process_group() -> None:
    """Who ends the group of a model that is being loaded ends this with it."""
    ended = run(["sh", "-c", "cut -d ' ' -f 5 /proc/$$/stat"], os.environ, nothing)

    assert int(ended.output) == os.getpgrp()


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run([tmp_path / "missing"], os.environ, nothing)
