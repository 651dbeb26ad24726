"""Runs in the Python that is packed: `python -I -S -B <this file> FOLDER`, with JSON lines on stdin.

Each line is [source, place in the archive]; the bytecode of each is written below FOLDER, to where it belongs
in the archive, and a number of bytes is said for each. It is marked to be used without a look at the source:
what is unpacked from an archive has other times, and is not changed afterwards.
"""

from __future__ import annotations

import importlib.util
import json
import py_compile
import sys
from contextlib import suppress
from pathlib import Path

HEADER = 16
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH


def main() -> None:
    target = Path(sys.argv[1])
    for line in sys.stdin:
        source, place = json.loads(line)
        made = target / importlib.util.cache_from_source(place, optimization="")
        made.parent.mkdir(parents=True, exist_ok=True)
        content = Path(source).read_bytes()
        code = code_at_hand(Path(source), content)
        if code is not None:
            start = importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + importlib.util.source_hash(content)
            made.write_bytes(start + code)
        else:
            # A template, or one that was written for another Python, stays as it is.
            with suppress(py_compile.PyCompileError, ValueError, SyntaxError):
                py_compile.compile(source, str(made), place, doraise=True, invalidation_mode=UNCHECKED)
        sys.stdout.write(f"{len(content)}\n")
        sys.stdout.flush()


def code_at_hand(source: Path, content: bytes) -> bytes | None:
    """What Python has compiled already, if it is of this very source."""
    try:
        compiled = Path(importlib.util.cache_from_source(str(source), optimization="")).read_bytes()
    except OSError:
        return None
    if compiled[:4] != importlib.util.MAGIC_NUMBER or len(compiled) <= HEADER:
        return None
    if compiled[4:8] == b"\0\0\0\0":
        time, size = (int.from_bytes(compiled[at : at + 4], "little") for at in (8, 12))
        is_of_it = time == int(source.stat().st_mtime) & 0xFFFFFFFF and size == len(content) & 0xFFFFFFFF
    else:
        is_of_it = compiled[8:16] == importlib.util.source_hash(content)
    return compiled[HEADER:] if is_of_it else None


if __name__ == "__main__":
    main()
