"""What a server is told on its command line, as far as it has to be known before the server starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SERVICES = (("HTTP", "http", 8000), ("gRPC", "grpc", 8001), ("metrics", "metrics", 8002))
EVERY_ADDRESS = "0.0.0.0"


@dataclass(frozen=True)
class Endpoint:
    """Where a server is going to listen."""

    service: str
    """As people call it: `HTTP`, `gRPC` or `metrics`."""
    address: str
    port: int
    option: str
    """The server's option that chooses another port."""
    shared: bool = False
    """Whether other servers may listen there too."""


def option_value(options: Sequence[str], name: str) -> str | None:
    """What `--name VALUE` or `--name=VALUE` says; the last one counts.

    >>> option_value(["--id", "a", "--id=b"], "--id")
    'b'
    """
    value = None
    for index, option in enumerate(options):
        if option == name and index + 1 < len(options):
            value = options[index + 1]
        elif option.startswith(f"{name}="):
            value = option.partition("=")[2]
    return value


def endpoints(options: Sequence[str]) -> list[Endpoint]:
    """Those of a server with these options, but for a port that is no number: of that it complains."""
    found = []
    http_address = option_value(options, "--http-address") or EVERY_ADDRESS
    for service, name, default_port in _SERVICES:
        # Metrics follow HTTP unless they are told otherwise.
        default_address = http_address if name == "metrics" else EVERY_ADDRESS
        port = option_value(options, f"--{name}-port") or str(default_port)
        if _is_false(option_value(options, f"--allow-{name}")) or not port.isdecimal():
            continue
        found.append(
            Endpoint(
                service=service,
                address=option_value(options, f"--{name}-address") or default_address,
                port=int(port),
                option=f"--{name}-port",
                shared=_is_true(option_value(options, f"--reuse-{name}-port")),
            )
        )
    return found


def _is_false(value: str | None) -> bool:
    return value is not None and value.lower() in ("false", "0")


def _is_true(value: str | None) -> bool:
    return value is not None and value.lower() in ("true", "1")
