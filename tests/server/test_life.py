"""What a load leaves, and what the log says about it."""

from __future__ import annotations

import json
from pathlib import Path

from serving.client import Client
from serving.repository import config, write_model
from serving.server import TritonServer
from serving.telling import ONE, TENSORS, telling
from serving.types import Load
from serving.waiting import wait_until


def test_a_load_leaves_nothing_in_the_repository(load: Load, http: Client, repository: Path) -> None:
    (write_model(repository, "imported_by_the_next", None) / "1" / "sibling.py").write_text("")
    model = load(telling("1"), config(*TENSORS))
    (repository / model / "1" / "sibling.py").write_text("")
    http.load(model)
    http.error(model, ONE)
    http.unload(model)
    files = sorted(str(path.relative_to(repository / model)) for path in (repository / model).rglob("*"))
    assert files == ["1", "1/model.py", "1/sibling.py", "config.pbtxt"]


def test_what_a_model_prints_is_in_the_servers_log(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        """
import sys

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        print("printed by", args["model_name"])
        print("complained by", args["model_name"], file=sys.stderr)

    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("x")) for _ in requests]
""",
        config(*TENSORS),
    )
    for line in (f"printed by {model}", f"complained by {model}"):
        wait_until("the line", lambda line=line: line in server.log())


def test_the_log_says_which_python_runs_a_model_and_why(
    load: Load, server: TritonServer, http: Client
) -> None:
    model = load(telling("[sys.executable, sys.prefix]"), config(*TENSORS))
    executable, _ = json.loads(http.error(model, ONE))
    lines = [line for line in server.log().splitlines() if f"model '{model}' runs in" in line]
    assert len(lines) == 1
    assert executable in lines[0]
