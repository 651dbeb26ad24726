"""A Python program that has a Triton server in itself, beside gRPC and threads of its own.

Run by `test_python_host.py`: `python_host.py <libtritonserver> <backends> <repository>`. Models get requests
by warm-up and by calls of each other, which needs no client. Prints as JSON what it has seen of itself
before, while the server ran and afterwards.
"""

from __future__ import annotations

import ctypes
import json
import locale
import os
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

SERVICE, METHOD = "host.Echo", "Say"
EXPLICIT = 2  # TRITONSERVER_MODEL_CONTROL_EXPLICIT


class Triton:
    """The few functions of the C API that it takes to run models."""

    def __init__(self, library: str, backends: str, repository: str) -> None:
        # As embedding programs open it: its symbols are nobody else's.
        self._api = ctypes.CDLL(library, mode=os.RTLD_LOCAL | os.RTLD_NOW)
        self._api.TRITONSERVER_ErrorMessage.restype = ctypes.c_char_p
        options = ctypes.c_void_p()
        self._call("TRITONSERVER_ServerOptionsNew", ctypes.byref(options))
        self._call("TRITONSERVER_ServerOptionsSetModelRepositoryPath", options, repository.encode())
        self._call("TRITONSERVER_ServerOptionsSetBackendDirectory", options, backends.encode())
        self._call("TRITONSERVER_ServerOptionsSetModelControlMode", options, ctypes.c_int(EXPLICIT))
        self._call("TRITONSERVER_ServerOptionsSetGpuMetrics", options, ctypes.c_bool(False))
        self._server = ctypes.c_void_p()
        self._call("TRITONSERVER_ServerNew", ctypes.byref(self._server), options)
        self._call("TRITONSERVER_ServerOptionsDelete", options)

    def load(self, model: str) -> None:
        self._call("TRITONSERVER_ServerLoadModel", self._server, model.encode())

    def unload(self, model: str) -> None:
        self._call("TRITONSERVER_ServerUnloadModel", self._server, model.encode())

    def end(self) -> None:
        self._call("TRITONSERVER_ServerStop", self._server)
        self._call("TRITONSERVER_ServerDelete", self._server)

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._api, name)
        function.restype = ctypes.c_void_p
        error = function(*arguments)
        if error:
            raise RuntimeError(self._api.TRITONSERVER_ErrorMessage(ctypes.c_void_p(error)).decode())


def state() -> dict[str, Any]:
    """What of a process a library could change behind its back."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return {
        "handlers": {
            number: str(signal.getsignal(number))
            for number in signal.valid_signals()
            if number not in (signal.SIGKILL, signal.SIGSTOP)
        },
        "caught": status["SigCgt"].strip(),
        "ignored": status["SigIgn"].strip(),
        "blocked": status["SigBlk"].strip(),
        "umask": status["Umask"].strip(),
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": str(Path.cwd()),
        "environment": {name: os.fsdecode(getenv(os.fsencode(name)) or b"") for name in sorted(os.environ)},
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
    }


class Talk:
    """A gRPC server with a client that asks it all the time, on threads."""

    def __init__(self) -> None:
        handler = grpc.method_handlers_generic_handler(
            SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(lambda request, context: request)}
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[handler])
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._ask = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(f"/{SERVICE}/{METHOD}")
        self._ending = threading.Event()
        self.answers = 0
        self.wrong = 0
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self._server.stop(None).wait()

    def _talk(self) -> None:
        while not self._ending.is_set():
            said = str(self.answers).encode()
            self.wrong += self._ask(said, timeout=30) != said
            self.answers += 1


def forks() -> int:
    """The status of a child of this process; what the backend has in here is none of its business."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main() -> None:
    library, backends, repository = sys.argv[1:]
    before = state()
    talk = Talk()
    triton = Triton(library, backends, repository)
    with_server = state()  # core has handlers of its own, for SIGPIPE say: that is not the backend
    for model in ("child", "parent", "crashing"):
        triton.load(model)
    statuses = [forks() for _ in range(3)]
    with_models = state()
    triton.unload("parent")
    triton.end()
    talk.end()
    print(
        json.dumps(
            {
                "before": before,
                "with_server": with_server,
                "with_models": with_models,
                "after": state(),
                "forks": statuses,
                "answers": talk.answers,
                "wrong": talk.wrong,
            }
        )
    )


if __name__ == "__main__":
    main()
