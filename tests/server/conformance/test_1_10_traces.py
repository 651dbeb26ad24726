"""Traces: what a model sees of its request's, and the calls that become a part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.repository import identity_config, model_code
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

Trace = dict[str, Any]
CALLING = caller("""
more = {} if told.get("apart") else {"trace": self.request.trace()}
return [call(child, {"IN": ints(1)}, **more)["OUT"].tolist() for _ in range(told.get("count", 1))]
""")
CONTEXT = caller("return self.request.trace().get_context()")


@pytest.fixture(scope="module")
def server_options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("traces") / "trace.json"
    settings = (f"triton,file={file}", "rate=1", "level=TIMESTAMPS", "triton,log-frequency=1")
    return {"options": [f"--trace-config={one}" for one in settings]}


@pytest.fixture
def traces(server: TritonServer) -> Any:
    file = Path(server.start.options[0].partition("file=")[2])

    def of(model: str, count: int) -> list[Trace]:
        """The traces of this model's requests; the server writes a file for each as it ends."""

        def seen() -> list[Trace]:
            parts = [
                part
                for one in file.parent.glob(f"{file.name}*")
                for part in json.loads(one.read_text() or "[]")
            ]
            found = [part for part in parts if part.get("model_name") == model]
            return found if len(found) >= count else []

        return wait_until(f"{count} traces of '{model}'", seen)

    return of


def test_a_call_with_the_trace_of_its_request_is_a_part_of_it(load: Load, http: Client, traces: Any) -> None:
    child = load(model_code("identity"), identity_config("INT32"))
    model = load(CALLING, CALLER_CONFIG)
    assert ask(http, model, child=child, count=3) == [[1]] * 3
    (own,) = traces(model, 1)
    assert [one["parent_id"] for one in traces(child, 3)] == [own["id"]] * 3


def test_a_call_without_one_is_not_traced(load: Load, http: Client, traces: Any) -> None:
    child = load(model_code("identity"), identity_config("INT32"))
    model = load(CALLING, CALLER_CONFIG)
    ask(http, model, child=child, apart=True)
    ask(http, model, child=child)
    (own, with_trace) = sorted(traces(model, 2), key=lambda one: one["id"])
    (called,) = traces(child, 1)
    assert called["parent_id"] == with_trace["id"] != own["id"]


def test_traces_go_on_down_a_chain(load: Load, http: Client, traces: Any) -> None:
    last = load(model_code("identity"), identity_config("INT32"))
    middle = load(
        caller('return call(told["last"], {"IN": ints(1)}, trace=self.request.trace())["OUT"].tolist()'),
        CALLER_CONFIG,
    )
    first = load(
        caller("""
        text = np.frombuffer(json.dumps({"last": told["last"]}).encode(), np.uint8)
        return json.loads(call(child, {"TOLD": text}, trace=self.request.trace())["ANSWER"].tobytes())
        """),
        CALLER_CONFIG,
    )
    assert ask(http, first, child=middle, last=last) == [1]
    (one,), (two,), (three,) = (traces(name, 1) for name in (first, middle, last))
    assert two["parent_id"] == one["id"]
    assert three["parent_id"] == two["id"]


def test_there_is_no_context_but_with_opentelemetry(load: Load, http: Client) -> None:
    assert ask(http, load(CONTEXT, CALLER_CONFIG)) is None
