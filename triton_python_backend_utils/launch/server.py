"""What a process that is about to become a model's says to the server, and hears from it."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from typing import Any

from .progress import Progress

CONFIGURATION = b"TPBCONF1"
STEP, WARNING, FAILURE = b"TPBSTEP1", b"TPBWARN1", b"TPBFAIL1"
LONGEST_MESSAGE = 8 * 1024
# Of the two seconds within which the server is to hear from us.
BETWEEN_SIGNS_S = 0.5


class ServerGone(Exception):
    """There is nobody to start a model for any more."""


class Server(Progress):
    """The server, at the other end of the socket `fd`, which stays open."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._last_sign = 0.0
        self._socket = socket.socket(fileno=os.dup(fd))

    def close(self) -> None:
        """Let go of the socket, of which `fd` stays."""
        self._socket.close()

    def configuration(self) -> dict[str, Any]:
        """What waits on the socket: the model's configuration.

        Raises:
            ServerGone: nothing will come.
            ValueError: what came is something else.
        """
        self._until(select.POLLIN)
        mark, fds, _, _ = socket.recv_fds(self._socket, LONGEST_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        try:
            if not mark:
                raise ServerGone
            if mark != CONFIGURATION or len(fds) != 1:
                raise ValueError(f"the server sent {mark[:8]!r} and {len(fds)} descriptors")
            size, text = os.fstat(fds[0]).st_size, b""
            while len(text) < size and (piece := os.pread(fds[0], size - len(text), len(text))):
                text += piece
        finally:
            for fd in fds:
                os.close(fd)
        config = json.loads(text)
        if not isinstance(config, dict):
            raise ValueError(f"the model's configuration is {type(config).__name__}")
        return config

    def alive(self) -> None:
        if time.monotonic() > self._last_sign + BETWEEN_SIGNS_S:
            self._send(STEP, "")

    def step(self, text: str) -> None:
        self._send(STEP, text)

    def warn(self, text: str) -> None:
        self._send(WARNING, text)

    def fail(self, text: str) -> None:
        """The load fails, with this text."""
        self._send(FAILURE, text)

    def _send(self, mark: bytes, text: str) -> None:
        message = mark + text.encode("utf-8", "backslashreplace")
        if len(message) > LONGEST_MESSAGE:  # not within a character
            message = message[:LONGEST_MESSAGE].decode("utf-8", "ignore").encode("utf-8")
        try:
            self._until(select.POLLOUT)
            self._socket.send(message, socket.MSG_NOSIGNAL)
        except OSError as error:
            print(f"the server does not listen: {error}", file=sys.stderr)
            raise ServerGone from error
        self._last_sign = time.monotonic()

    def _until(self, event: int) -> None:
        """Wait until the socket is ready, or at its end; it may be one that does not wait itself."""
        poller = select.poll()
        poller.register(self._fd, event)
        poller.poll()
