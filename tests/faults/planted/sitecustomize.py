"""Python runs this before the stub's own code; a fault waits until the stub loads what says hello for it."""

from __future__ import annotations

import sys


def look(event: str, arguments: tuple[object, ...]) -> None:
    if event != "import" or not str(arguments[0]).endswith("._core"):
        return
    planted_faults.point("handshake")
    if (planted_faults.SWITCHES / "attach").exists():
        say_hello()
        planted_faults.point("attach")


def say_hello() -> None:
    """By hand, as the stub's own code would do it next, except that this one does not read the answer."""
    import re
    import struct

    version = re.search(r"kWireVersion = (\d+);", Path(os.environ["FAULT_WIRE"]).read_text())
    assert version is not None
    words = (b"TBHELLO1", int(version[1]), os.getpid(), os.environ["FAULT_PACKAGE"].encode(), b"3.11.7")
    os.write(planted_faults.SOCKET, struct.pack("<8sII32s32s", *words))


if len(sys.argv) > 3 and sys.argv[0].endswith("stub_main.py"):
    import os
    from pathlib import Path

    import planted_faults

    sys.addaudithook(look)
