"""What models print reaches the output of the server."""

from __future__ import annotations

import pytest
from serving.client import Client
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
