"""A slow start is not a dead start: it is waited for, and the log says what takes the time."""

from __future__ import annotations

import re
from pathlib import Path

from serving.client import Client
from serving.repository import config, write_model
from serving.server import TritonServer
from serving.telling import TENSORS
from serving.types import StartServer
from serving.waiting import wait_until

SLOW = """
import time

import slow_to_import_a
from slow_to_import_b.part import nothing


class TritonPythonModel:
    def initialize(self, args):
        import slow_to_import_c
        time.sleep(1.1)

    def execute(self, requests):
        return [None for _ in requests]
"""
SLEEP = "import time\ntime.sleep({})\nnothing = None\n"


def write_slow(repository: Path, name: str, seconds: float) -> None:
    folder = write_model(repository, name, SLOW, config(*TENSORS)) / "1"
    (folder / "slow_to_import_a.py").write_text(SLEEP.format(seconds))
    (folder / "slow_to_import_b").mkdir(exist_ok=True)
    (folder / "slow_to_import_b" / "__init__.py").write_text("")
    (folder / "slow_to_import_b" / "part.py").write_text(SLEEP.format(seconds / 2))
    (folder / "slow_to_import_c.py").write_text(SLEEP.format(seconds / 2))


def test_the_log_says_what_a_slow_start_was_spent_on(
    repository: Path, http: Client, server: TritonServer
) -> None:
    write_slow(repository, "slow", 2.0)
    http.load("slow")
    pattern = re.compile(r"'slow_0(?:_0)?' took (\S+) s to start: (.*?)\"?$", re.MULTILINE)
    wait_until("the line", lambda: pattern.search(server.log()) is not None)
    total, parts = pattern.search(server.log()).groups()  # type: ignore[union-attr]
    seconds = {name: float(value) for name, value in re.findall(r"([\w ]+?) ([\d.]+) s(?:, |$)", parts)}
    http.unload("slow")

    assert seconds["importing slow_to_import_a"] >= 1.8
    assert seconds["importing slow_to_import_b"] >= 0.8
    assert seconds["importing slow_to_import_c"] >= 0.8
    assert seconds["initialize"] >= 0.9
    assert float(total) >= 4.5


def test_the_log_says_what_goes_on_meanwhile(repository: Path, http: Client, server: TritonServer) -> None:
    write_slow(repository, "slower", 6.0)
    http.load("slower")
    http.unload("slower")
    assert re.search(r"still starting after \d+ s: importing slow_to_import_a", server.log())


def test_the_time_for_the_first_message_is_not_that_of_the_import(start_server: StartServer) -> None:
    server = start_server(settings={"stub-timeout-seconds": "1"})
    write_slow(server.start.repository, "slow", 2.0)
    with Client(server) as client:
        client.load("slow")
