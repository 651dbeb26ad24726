"""Whether a server could listen where it is going to, and who is in its way."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from triton_python._options import Endpoint

_LISTENING = "0A"
_CONNECT_SECONDS = 1.0


def port_problem(endpoint: Endpoint) -> str | None:
    """Why a server could not listen there and what to do, or None. Nothing stays bound."""
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    where = f"{endpoint.address}:{endpoint.port}"
    try:
        with socket.socket(family) as probe:
            # As servers do: connections that linger from before are in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((endpoint.address, endpoint.port))
    except socket.gaierror:
        return f"cannot look up the address {endpoint.address} for {endpoint.service}: check its spelling"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return taken(where, endpoint.option)
        if error.errno == errno.EADDRNOTAVAIL:
            return (
                f"this machine has no address {endpoint.address} for {endpoint.service} to listen on: "
                "choose one of its own, or 0.0.0.0 for all of them"
            )
        if error.errno == errno.EACCES:
            return (
                f"{endpoint.service} is not permitted to listen on {where}: choose a port from 1024 up with "
                f"{endpoint.option}"
            )
        return f"cannot listen on {where} for {endpoint.service} ({error.strerror})"
    return None


def accepts(where: str) -> bool:
    """Whether somebody takes connections at this `HOST:PORT`, where the host may be every address."""
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def taken(where: str, option: str) -> str:
    """The sentence for an address that is in use: who has it, if that can be seen, and what to do."""
    port = where.rpartition(":")[2]
    holder = listener(int(port)) if port.isdecimal() else None
    by = f" by {holder}" if holder else ""
    return (
        f"the address {where} is already in use{by}: stop the program that listens there, or choose another "
        f"port with {option}"
    )


def listener(port: int) -> str | None:
    """`process 12 (tritonserver)` for one that listens there; None when it cannot be seen."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and sockets & set(_descriptors(process)):
            return f"process {process.name} ({_name(process)})"
    return None  # another user's, or one outside this container


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _descriptors(process: Path) -> Iterator[str]:
    try:
        for descriptor in (process / "fd").iterdir():
            yield str(descriptor.readlink())
    except OSError:
        return  # it has ended, or is not ours to look at


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
