"""Options that several of the commands have."""

# No `from __future__ import annotations`: typer reads these annotations.

from typing import Annotated, Optional

import typer

from triton_python._progress import say
from triton_python._server import TritonServer

SERVER_HELP = "The tritonserver program, or the folder that holds bin/tritonserver."
PYTHON_HELP = "The Python that models run in: a path, the folder of a virtual environment, or a command."
HOST_HELP = "The address to listen on; every address of the machine without it."
LOCAL_HELP = "Listen on 127.0.0.1 alone: only programs on this machine reach the server."
VERBOSE_HELP = "Also say how the server was found and how it is started, on stderr."

ServerOption = Annotated[str, typer.Option("--server", metavar="PATH", help=SERVER_HELP, show_default=False)]
PythonOption = Annotated[str, typer.Option("--python", metavar="PATH", help=PYTHON_HELP, show_default=False)]
HostOption = Annotated[str, typer.Option("--host", metavar="ADDRESS", help=HOST_HELP, show_default=False)]
LocalOption = Annotated[bool, typer.Option("--local", help=LOCAL_HELP)]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help=VERBOSE_HELP)]

_Port = Optional[int]
HttpPortOption = Annotated[
    _Port,
    typer.Option("--http-port", min=1, max=65535, metavar="PORT", help="The port for HTTP; 8000 without it."),
]
GrpcPortOption = Annotated[
    _Port,
    typer.Option("--grpc-port", min=1, max=65535, metavar="PORT", help="The port for gRPC; 8001 without it."),
]
MetricsPortOption = Annotated[
    _Port,
    typer.Option(
        "--metrics-port", min=1, max=65535, metavar="PORT", help="The port for metrics; 8002 without it."
    ),
]


def chosen_ports(http: Optional[int], grpc: Optional[int], metrics: Optional[int]) -> dict[str, int]:
    """Those that were given, by the server's name for the service."""
    given = {"http": http, "grpc": grpc, "metrics": metrics}
    return {service: port for service, port in given.items() if port is not None}


def say_source(found: "TritonServer | None") -> None:
    if found is None:
        say("there is no server on this machine yet")
    else:
        say(f"the server is {found.binary}, found through {found.source}")
