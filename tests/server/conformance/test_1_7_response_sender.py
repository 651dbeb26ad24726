"""Response senders of models that answer each request once."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from serving.client import Client
from serving.decoupled import ints, model_of
from serving.repository import identity_config
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException, shared_memory

CONFIG = identity_config("INT32")
# There the client waits for ever, and so does the unload.
UNANSWERED = pytest.mark.differs("unanswered", run=False)
DROPPED = pytest.mark.differs("dropped-sender", run=False)


def out(client: Client, model: str, *numbers: int) -> list[int]:
    return client.infer(model, ints(*numbers))["OUT"].tolist()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("sender.send(response(7), FINAL)", id="with the final flag"),
        pytest.param("sender.send(response(7)); sender.send(flags=FINAL)", id="and then the final flag"),
    ],
)
@pytest.mark.parametrize("returned", ["None", "[None for _ in requests]"])
def test_a_response_in_execute(load: Load, client: Client, body: str, returned: str) -> None:
    model = load(
        model_of(f"""
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                {body}
            return {returned}
        """),
        CONFIG,
    )
    assert out(client, model, 1) == [7]
    assert out(client, model, 1) == [7]


def test_a_response_after_execute_has_returned(load: Load, client: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            threading.Thread(target=self.answer, args=[requests]).start()

        def answer(self, requests):
            time.sleep(0.02)
            for request in requests:
                request.get_response_sender().send(response(*numbers(request)), FINAL)
        """),
        CONFIG,
    )
    for number in range(5):
        assert out(client, model, number) == [number]


def test_a_batch_of_which_some_are_returned_and_some_are_sent(load: Load, server: TritonServer) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            assert len(requests) == 8
            responses = []
            for request in requests:
                if numbers(request)[0][0] % 2:
                    request.get_response_sender().send(
                        pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([[1]], np.int32))]), FINAL
                    )
                    responses.append(None)
                else:
                    responses.append(
                        pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([[2]], np.int32))])
                    )
            return responses
        """),
        identity_config(
            "INT32",
            max_batch_size=8,
            more="dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 20000000 }",
        ),
    )

    def ask(number: int) -> Any:
        with Client(server) as client:
            return client.infer(model, {"IN": np.array([[number]], np.int32)})["OUT"].tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [[[2]], [[1]]] * 4


# What is done first, what is refused, and what ends the request then.
REFUSED = [
    pytest.param(
        "sender.send(response(1))",
        "sender.send(response(2))",
        "sender.send(flags=FINAL)",
        "Unable to send response. Non-decoupled model cannot send more than one response.",
        id="a second response",
    ),
    pytest.param(
        "sender.send(response(1), FINAL)",
        "sender.send(response(2))",
        "pass",
        "Unable to send response. Non-decoupled model cannot send more than one response.",
        id="a second response after the end",
    ),
    pytest.param(
        "pass",
        "sender.send(flags=FINAL)",
        "sender.send(response(1), FINAL)",
        "Unable to send response. Non-decoupled model cannot send complete final before sending a response.",
        id="an end without a response",
    ),
    pytest.param(
        "sender.send(response(1), FINAL)",
        "sender.send(flags=FINAL)",
        "pass",
        "Unable to send response. Response sender has been closed.",
        id="a second end",
    ),
    pytest.param(
        "pass",
        "sender.send()",
        "sender.send(response(1), FINAL)",
        "Inference Response object must be provided when the response flags is set to zero.",
        id="nothing",
    ),
    pytest.param(
        "pass",
        "sender.send(response(2), flags=2)",
        "sender.send(response=response(1), flags=FINAL)",
        "Unable to send response. Unsupported flag provided.",
        id="a flag that there is not",
    ),
]


@pytest.mark.parametrize(("before", "code", "after", "text"), REFUSED)
def test_what_a_sender_refuses(
    load: Load, http: Client, before: str, code: str, after: str, text: str
) -> None:
    """Its caller learns of it, and the client gets what else was sent."""
    model = load(
        model_of(f"""
        def initialize(self, args):
            self.said = ""

        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                if not numbers(request)[0]:
                    sender.send(response(*self.said.encode()), FINAL)
                    continue
                {before}
                try:
                    {code}
                except pb_utils.TritonModelException as error:
                    self.said = str(error)
                {after}
        """),
        CONFIG,
    )
    assert out(http, model, 1) == [1]
    assert bytes(out(http, model, 0)).decode() == text


@pytest.mark.differs("sent-and-returned")
def test_a_response_that_is_sent_and_returned_as_well(load: Load, http: Client) -> None:
    """The sender has not closed, so the client gets an end; its one response is there already."""
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.get_response_sender().send(response(1))
            return [response(2) for _ in requests]
        """),
        CONFIG,
    )
    assert out(http, model, 1) == [1]


def test_a_response_that_is_returned_after_the_sender_closed_reaches_nobody(load: Load, http: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.get_response_sender().send(response(1), FINAL)
            return [response(2) for _ in requests]
        """),
        CONFIG,
    )
    assert out(http, model, 1) == [1]
    assert out(http, model, 1) == [1]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("return None", id="None", marks=UNANSWERED),
        pytest.param("return [None for _ in requests]", id="a list of None", marks=UNANSWERED),
        pytest.param(
            "[request.get_response_sender() for request in requests]",
            id="a sender that is dropped",
            marks=DROPPED,
        ),
        pytest.param(
            "threading.Thread(target=lambda kept: time.sleep(0.05), args=[requests]).start()",
            id="a thread that drops the requests",
            marks=DROPPED,
        ),
    ],
)
def test_a_request_that_nobody_answers_ends_with_an_error(load: Load, client: Client, body: str) -> None:
    model = load(
        model_of(f"""
        def execute(self, requests):
            {body}
        """),
        CONFIG,
    )
    error = client.error(model, ints(1))
    assert error.removeprefix("[500] ").startswith(
        f"Failed to process the request(s) for model '{model}_0', message: "
    )
    client.unload(model)


def test_an_exception_after_the_sender_closed_is_not_the_answer(load: Load, http: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.get_response_sender().send(response(1), FINAL)
            raise ValueError("too late")
        """),
        CONFIG,
    )
    assert out(http, model, 1) == [1]


def test_an_error_response(load: Load, client: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                request.get_response_sender().send(response(error="as it is"), FINAL)
        """),
        CONFIG,
    )
    assert client.error(model, ints(1)) == "as it is"


@pytest.mark.differs("send-returns")
def test_send_does_not_wait_for_the_server(load: Load, server: TritonServer, tmp_path: Path) -> None:
    """It returns while all of the server stands still; its tensors are the model's again."""
    model = load(
        "import os\n"
        + model_of(f"""
        def execute(self, requests):
            for request in requests:
                array = np.array([7], np.int32)
                open({str(tmp_path / "began")!r}, "w").close()
                while not os.path.exists({str(tmp_path / "stopped")!r}):
                    time.sleep(0.001)
                sender = request.get_response_sender()
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]), FINAL)
                array[0] = 8
                open({str(tmp_path / "sent")!r}, "w").close()
        """),
        CONFIG,
    )
    with Client(server, "grpc") as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(out, client, model, 1)
        wait_until("it to begin", (tmp_path / "began").exists)
        with server.stopped():
            (tmp_path / "stopped").touch()
            wait_until("send to return", (tmp_path / "sent").exists)
        assert answer.result() == [7]


def test_what_only_the_server_can_find_out_is_the_clients_error(
    load: Load, http: Client, server: TritonServer, log_start: int
) -> None:
    """Here, that the client has kept too little memory for the answer."""
    model = load(
        model_of("""
        def execute(self, requests):
            for request in requests:
                try:
                    request.get_response_sender().send(response(1, 2, 3), FINAL)
                    print("send: it returned", flush=True)
                except pb_utils.TritonModelException as error:
                    print("send:", error, flush=True)
        """),
        CONFIG,
    )
    key = f"/tpb_test_{uuid.uuid4().hex}"
    region = shared_memory.create_shared_memory_region("region", key, 4)
    try:
        http.raw.register_system_shared_memory("region", key, 4)
        wanted = tritonclient.http.InferRequestedOutput("OUT")
        wanted.set_shared_memory("region", 4)
        with pytest.raises(InferenceServerException, match=r"shared memory|buffer"):
            http.raw.infer(model, http.tensors(ints(1)), outputs=[wanted])
        http.raw.unregister_system_shared_memory("region")
    finally:
        shared_memory.destroy_shared_memory_region(region)
    wait_until("the model to say", lambda: "send: " in server.log()[log_start:])
    assert "send: it returned" in server.log()[log_start:]
