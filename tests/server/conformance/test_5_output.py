"""What models print reaches the output of the server."""

from __future__ import annotations

import pytest
from serving.client import Client
from serving.log import wait_for_lines
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

WAYS = {
    "stdout": 'print("from the model", flush=True)',
    "stderr": 'import sys; print("from the model", file=sys.stderr, flush=True)',
    "C": 'import ctypes; ctypes.CDLL(None).puts(b"from the model"); ctypes.CDLL(None).fflush(None)',
    "a program": 'import subprocess; subprocess.run(["echo", "from the model"], check=True)',
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_model_prints_is_in_the_output_of_the_server(
    load: Load, http: Client, server: TritonServer, log_start: int, way: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, WAYS[way])
    wait_until("the text", lambda: "from the model" in server.log()[log_start:])


@pytest.mark.differs("output-lines")
def test_what_a_model_prints_is_a_line_of_the_servers_log(
    load: Load, http: Client, server: TritonServer
) -> None:
    """With the name of the instance, whoever prints it."""
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    for way in WAYS.values():
        do(http, model, way)
    lines = wait_for_lines(
        server, f"{model}_0 stdout", f"{model}_0 stderr", until=lambda lines: len(lines) == len(WAYS)
    )
    told = sorted((line.level, line.source.split()[-1], line.text) for line in lines)
    assert told == [("I", "stdout", "from the model")] * 3 + [("W", "stderr", "from the model")]
