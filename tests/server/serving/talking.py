"""Models that talk to the server beside their stub, over its socket and in memory of their own."""

from __future__ import annotations

import re
from pathlib import Path

from serving.calls import caller

WIRE = (Path(__file__).parents[3] / "ipc" / "wire.h").read_text()
WIRE_VERSION = int(re.search(r"kWireVersion = (\d+);", WIRE)[1])  # type: ignore[index]

# Where the extents of a Layout start among its numbers, each of them two: {"control": 1, "memory": 3, ...}.
EXTENTS = {
    name: 1 + 2 * index
    for index, name in enumerate(
        re.findall(
            r"^  (?:Ring)?Extent (\w+);", WIRE.split("struct Layout {")[1].split("};")[0], re.MULTILINE
        )
    )
}

# For the source of a model: `hello(...)` is the first message of a stub; `introduce(fd)` sends a descriptor
# over the socket that a stub inherits, as its forked children do.
_TALKING = """
import mmap
import socket
import struct

control = socket.socket(fileno=os.dup(3))
VERSION = pb_utils._core.__version__


def hello(magic=b"TBHELLO1", wire=WIRE_VERSION, package=VERSION):
    return struct.pack("<8sII32s32s", magic, wire, os.getpid(), package.encode(), b"3.11.7")


def pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def introduce(fd):
    socket.send_fds(control, [b"TPBCHILD"], [fd])


def answer_to(first):
    own, servers = pair()
    own.send(first)
    introduce(servers.fileno())
    servers.close()
    return own.recv(65536).decode("latin-1")


class Channel:
    # What a forked child gets.
    def __init__(self):
        own, servers = pair()
        own.send(hello())
        introduce(servers.fileno())
        servers.close()
        message, (self.memfd, self.doorbell, pidfd), _, _ = socket.recv_fds(own, 65536, 3)
        self.numbers = numbers = struct.unpack_from("<%dQ" % (1 + 2 * len(EXTENTS)), message, 48)
        self.memory = mmap.mmap(self.memfd, numbers[0])
        self.calls, self.events, self.arena = (
            numbers[EXTENTS[name]] for name in ("calls", "events", "stub_arena")
        )
        self.socket = own

    def push(self, count=1):
        struct.pack_into("<I", self.memory, self.events, count)
        os.eventfd_write(self.doorbell, 1)

    def slot(self, at, kind, identity=1, offset=0, size=0):
        struct.pack_into("<IIQQQ", self.memory, self.events + 128 + 64 * at, kind, 0, identity, offset, size)

    def dropped(self):
        return self.socket.recv(65536) == b""
""".replace("WIRE_VERSION", str(WIRE_VERSION)).replace("EXTENTS", repr(EXTENTS))


def talking(one: str, more: str = "") -> str:
    """As `serving.calls.caller`, with these functions and `more` of them beside the class."""
    return caller(one).replace("class TritonPythonModel", f"{_TALKING}{more}\n\nclass TritonPythonModel", 1)
