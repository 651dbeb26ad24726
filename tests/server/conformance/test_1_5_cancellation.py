"""Requests that their clients give up: is_cancelled of requests and of senders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving.client import Client
from serving.decoupled import CONFIG, ints, model_of
from serving.repository import identity_config
from serving.server import TritonServer
from serving.stream import Stream
from serving.types import Load
from serving.waiting import wait_until

WATCHING = """
def execute(self, requests):
    for request in requests:
        open(FOLDER + "/began", "w").close()
        asked = ASKED
        polls = 0
        while not asked.is_cancelled() and polls < 20000:
            polls += 1
            time.sleep(0.001)
        open(FOLDER + f"/{asked.is_cancelled()}", "w").close()
        ANSWER
"""


@pytest.mark.parametrize("asked", ["request", "request.get_response_sender()"])
def test_a_request_that_is_cancelled_while_it_runs(
    load: Load, server: TritonServer, tmp_path: Path, asked: str
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    body = WATCHING.replace("FOLDER", repr(str(folder))).replace("ASKED", asked)
    model = load(
        model_of(body.replace("ANSWER", "pass")) + "        return [response(1) for _ in requests]\n",
        identity_config("INT32"),
    )
    with Client(server, "grpc") as client:
        call = client.raw.async_infer(model, client.tensors(ints(1)), callback=lambda result, error: None)
        wait_until("it to begin", lambda: (folder / "began").exists())
        assert not (folder / "True").exists()
        call.cancel()
        wait_until("it to notice", lambda: (folder / "True").exists())


def test_a_stream_that_is_closed(load: Load, server: TritonServer, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    model = load(
        model_of(
            WATCHING.replace("FOLDER", repr(str(folder)))
            .replace("ASKED", "request.get_response_sender()")
            .replace("ANSWER", "asked.send(flags=FINAL)")
        ),
        CONFIG,
    )
    stream = Stream(server)
    stream.send(model, ints(1))
    wait_until("it to begin", lambda: (folder / "began").exists())
    stream.close(cancel=True)
    wait_until("it to notice", lambda: (folder / "True").exists())


@pytest.mark.differs("cancelled-calls", run=False)
def test_a_call_that_a_cancelled_request_waits_for_is_cancelled(
    load: Load, server: TritonServer, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    body = WATCHING.replace("FOLDER", repr(str(folder))).replace("ASKED", "request").replace("ANSWER", "pass")
    child = load(
        model_of(body) + "        return [response(1) for _ in requests]\n", identity_config("INT32")
    )
    model = load(
        model_of(f"""
        def execute(self, requests):
            answers = []
            for request in requests:
                call = pb_utils.InferenceRequest(
                    inputs=request.inputs(), requested_output_names=["OUT"], model_name="{child}"
                )
                answers.append(call.exec())
            return answers
        """),
        identity_config("INT32"),
    )
    with Client(server, "grpc") as client:
        call = client.raw.async_infer(model, client.tensors(ints(1)), callback=lambda result, error: None)
        wait_until("the other model to begin", lambda: (folder / "began").exists())
        call.cancel()
        wait_until("the other model to notice", lambda: (folder / "True").exists())


def test_nobody_cancels(load: Load, client: Client) -> None:
    model = load(
        model_of("""
        def execute(self, requests):
            answers = []
            for request in requests:
                sender = request.get_response_sender()
                said = [request.is_cancelled(), sender.is_cancelled()]
                answers.append(response(*map(int, said)))
            return answers
        """),
        identity_config("INT32"),
    )
    for _ in range(3):
        assert client.infer(model, ints(1))["OUT"].tolist() == [0, 0]


@pytest.mark.parametrize("asked", ["request", "request.get_response_sender()"])
def test_many_threads_ask_at_once(load: Load, server: TritonServer, tmp_path: Path, asked: str) -> None:
    """All of them get an answer each time, before the client gives up and after it."""
    folder = tmp_path / "notes"
    folder.mkdir()
    model = load(
        model_of(f"""
        def execute(self, requests):
            for request in requests:
                asked = {asked}
                threads = [threading.Thread(target=self.ask, args=[asked, number]) for number in range(16)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            return [response(1) for _ in requests]

        def ask(self, asked, number):
            for _ in range(20):
                assert asked.is_cancelled() is False
            open({str(folder)!r} + f"/{{number}} asks", "w").close()
            polls = 0
            while not asked.is_cancelled() and polls < 20000:
                polls += 1
                time.sleep(0.001)
            assert asked.is_cancelled() is True
            open({str(folder)!r} + f"/{{number}} knows", "w").close()
        """),
        identity_config("INT32"),
    )
    with Client(server, "grpc") as client:
        call = client.raw.async_infer(model, client.tensors(ints(1)), callback=lambda result, error: None)
        wait_until("all to ask", lambda: len(list(folder.glob("* asks"))) == 16)
        call.cancel()
        wait_until("all to know", lambda: len(list(folder.glob("* knows"))) == 16)


@pytest.mark.differs("cancelled-poll")
@pytest.mark.parametrize("asked", ["request", "request.get_response_sender()"])
def test_only_the_first_question_needs_the_server(
    load: Load, server: TritonServer, tmp_path: Path, asked: str
) -> None:
    """The others are answered while all of the server stands still."""
    body = f"""
        def execute(self, requests):
            for request in requests:
                asked = {asked}
                asked.is_cancelled()
                open({str(tmp_path / "began")!r}, "w").close()
                while not os.path.exists({str(tmp_path / "stopped")!r}):
                    time.sleep(0.001)
                said = [asked.is_cancelled() for _ in range(1000)]
                open({str(tmp_path / "answered")!r}, "w").close()
            return [response(sum(said)) for _ in requests]
        """
    model = load("import os\n" + model_of(body), identity_config("INT32"))
    with Client(server, "grpc") as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.infer, model, ints(1))
        wait_until("it to begin", (tmp_path / "began").exists)
        with server.stopped():
            (tmp_path / "stopped").touch()
            wait_until("the answers", (tmp_path / "answered").exists)
        assert answer.result()["OUT"].tolist() == [0]


@pytest.mark.differs("ended-sender", run=False)
def test_a_sender_that_has_ended_still_answers_the_question(load: Load, stream: Stream) -> None:
    model = load(
        model_of("""
        def initialize(self, args):
            self.old = []

        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                sender.is_cancelled()
                sender.send(response(sum(one.is_cancelled() for one in self.old)), FINAL)
                self.old.append(sender)
        """),
        CONFIG,
    )
    for _ in range(20):
        (only,) = stream.ask(model, ints())
        assert only.outputs["OUT"].tolist() == [0]
