"""request.trace(): the context of a request that the server traces, which a call can carry on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.repository import write_model
from serving.types import StartServer

TELLING = caller("return self.request.trace().get_context()")
CALLING = caller("""
    def context_of(**more):
        answer = call(child, {"TOLD": np.frombuffer(b"{}", np.uint8)}, **more)["ANSWER"]
        return json.loads(answer.tobytes())

    trace = self.request.trace()
    return [trace.get_context(), context_of(trace=trace), context_of()]
""")


@pytest.fixture
def collector() -> Iterator[int]:
    """Takes the spans that the server sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_call_is_a_part_of_the_trace_that_it_is_given(
    start_server: StartServer, collector: int, protocol: str
) -> None:
    options = ["mode=opentelemetry", "rate=1", "level=TIMESTAMPS"]
    options.append(f"opentelemetry,url=http://127.0.0.1:{collector}/v1/traces")
    server = start_server(options=[f"--trace-config={option}" for option in options])
    write_model(server.start.repository, "child", TELLING, CALLER_CONFIG)
    write_model(server.start.repository, "model", CALLING, CALLER_CONFIG)
    with Client(server, protocol) as client:
        client.load("child")
        client.load("model")
        own, carried_on, without = ask(client, "model", child="child")
    parents = [json.loads(context)["traceparent"].split("-") for context in (own, carried_on)]
    assert parents[0][1] == parents[1][1], "of one trace"
    assert parents[0][2] != parents[1][2], "in another span"
    assert without is None
