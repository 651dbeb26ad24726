"""What a process that is about to become a model's says to the server."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from contextlib import closing

import pytest
from launching import send_configuration

from triton_python_backend_utils.launch.server import LONGEST_MESSAGE, Server, ServerGone


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Server]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, closing(Server(theirs.fileno())) as server:
        yield ours, server


def test_long_texts_are_cut_between_two_characters(pair: tuple[socket.socket, Server]) -> None:
    ours, server = pair
    for text in ("é" * 10_000, "x" + "é" * 10_000):
        server.fail(text)

        message = ours.recv(1 << 20)

        assert LONGEST_MESSAGE - 1 <= len(message) <= LONGEST_MESSAGE
        assert text.startswith(message[8:].decode())


def test_texts_that_are_no_unicode_are_told_nevertheless(pair: tuple[socket.socket, Server]) -> None:
    ours, server = pair

    server.warn("a \udce9 file")

    assert ours.recv(100) == b"TPBWARN1a \\udce9 file"


def test_signs_of_life_are_no_flood(pair: tuple[socket.socket, Server]) -> None:
    ours, server = pair
    for _ in range(1000):
        server.advance("unpacking", 1, 2)

    assert ours.recv(100) == b"TPBSTEP1"
    readable, _, _ = select.select([ours], [], [], 0)
    assert len(readable) <= 1


def test_a_server_that_does_not_listen_is_gone(
    pair: tuple[socket.socket, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    ours, server = pair
    ours.close()

    with pytest.raises(ServerGone):
        server.step("hello")

    assert capsys.readouterr().err == "the server does not listen: [Errno 32] Broken pipe\n"


def test_the_configuration_is_waited_for_on_a_socket_that_does_not_wait() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    with ours, theirs, closing(Server(theirs.fileno())) as server, ThreadPoolExecutor(1) as pool:
        configuration = pool.submit(server.configuration)
        with pytest.raises(TimeoutError):
            configuration.result(0.5)

        send_configuration(ours, b'{"name": "m"}')

        assert configuration.result() == {"name": "m"}
