"""What a program's or library's file says about itself, read without running it."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"\x7fELF"

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB = 1, 5
_MACHINES = {
    3: "i386",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}


@dataclass(frozen=True)
class Elf:
    """`machine` as `uname -m` calls it, the program that loads it, and the libraries that it needs."""

    machine: str
    loader: str
    needed: tuple[str, ...]


def read_elf(path: Path) -> Elf | None:
    """What the file says, or None when it is no ELF file or makes no sense.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            return None
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            try:
                return _parse(data)
            except (struct.error, ValueError, IndexError, OverflowError, StopIteration):
                return None


def _parse(data: mmap.mmap) -> Elf:
    is_64, order = data[4] == 2, "<" if data[5] == 1 else ">"
    (machine,) = struct.unpack_from(order + "H", data, 18)
    if machine == 0:
        raise ValueError("a program for no machine")
    segments = _segments(data, is_64, order)
    loader = b""
    needed: list[str] = []
    for kind, offset, _, size in segments:
        if kind == _PT_INTERP:
            loader = data[offset : offset + size].rstrip(b"\0")
        elif kind == _PT_DYNAMIC:
            needed = _needed(data, offset, size, segments, is_64, order)
    return Elf(_MACHINES.get(machine, f"machine {machine}"), loader.decode("utf-8", "replace"), tuple(needed))


def _segments(data: mmap.mmap, is_64: bool, order: str) -> list[tuple[int, int, int, int]]:
    """Kind, offset in the file, address and size in the file of each segment."""
    if is_64:
        (start,) = struct.unpack_from(order + "Q", data, 32)
        size, count = struct.unpack_from(order + "HH", data, 54)
        layout, order_of = order + "IIQQQQ", (0, 2, 3, 5)
    else:
        (start,) = struct.unpack_from(order + "I", data, 28)
        size, count = struct.unpack_from(order + "HH", data, 42)
        layout, order_of = order + "IIIII", (0, 1, 2, 4)
    found = []
    for index in range(count):
        fields = struct.unpack_from(layout, data, start + index * size)
        kind, offset, address, length = (fields[at] for at in order_of)
        found.append((kind, offset, address, length))
    return found


def _needed(
    data: mmap.mmap,
    offset: int,
    size: int,
    segments: list[tuple[int, int, int, int]],
    is_64: bool,
    order: str,
) -> list[str]:
    entry = struct.Struct(order + ("qQ" if is_64 else "iI"))
    pairs = list(entry.iter_unpack(data[offset : offset + size - size % entry.size]))
    address = next(value for tag, value in pairs if tag == _DT_STRTAB)
    strings = next(
        at + address - start
        for kind, at, start, length in segments
        if kind == _PT_LOAD and start <= address < start + length
    )
    names = [strings + value for tag, value in pairs if tag == _DT_NEEDED]
    return [data[at : data.find(b"\0", at)].decode("utf-8", "replace") for at in names]
