"""Makes archives, entry by entry, such as no honest program makes."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CHANGED = 1_600_000_001  # an odd number of seconds: times in zip archives are even


class Item(NamedTuple):
    """One entry: a file's content or a link's target, and what kind it is."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644


def file(name: str, content: bytes = b"content", mode: int = 0o644) -> Item:
    return Item(name, content, tarfile.REGTYPE, mode)


def folder(name: str, mode: int = 0o755) -> Item:
    return Item(name, b"", tarfile.DIRTYPE, mode)


def link(name: str, target: str) -> Item:
    return Item(name, target.encode(), tarfile.SYMTYPE)


def hard_link(name: str, target: str) -> Item:
    return Item(name, target.encode(), tarfile.LNKTYPE)


def special(name: str, kind: bytes) -> Item:
    return Item(name, b"", kind)


def tar(path: Path, *items: Item) -> Path:
    """A plain tar archive of these entries."""
    with tarfile.open(path, "w") as archive:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.type, info.mode, info.mtime = item.kind, item.mode, CHANGED
            if item.kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = item.content.decode()
                archive.addfile(info)
            else:
                info.size = len(item.content)
                archive.addfile(info, io.BytesIO(item.content))
    return path


_ZIP_KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
}


def zipped(path: Path, *items: Item) -> Path:
    """A zip archive of these entries, as programs of Unix write it."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore", UserWarning)  # about names that are there twice
        for item in items:
            is_folder = item.kind == tarfile.DIRTYPE
            info = zipfile.ZipInfo(item.name + "/" * is_folder, (2020, 9, 13, 14, 26, 42))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (_ZIP_KINDS[item.kind] | item.mode) << 16
            archive.writestr(info, item.content)
    return path


def compressed(path: Path, program: str) -> Path:
    """The file, compressed by that program."""
    target = path.with_name(f"{path.name}.{program}")
    with path.open("rb") as source, target.open("wb") as output:
        subprocess.run([program, "-c"], stdin=source, stdout=output, check=True)
    return target


# How the archives that the code has to know are made, of a folder.
def _tar_with(*options: str) -> Callable[[Path, Path], Path]:
    def pack(source: Path, target: Path) -> Path:
        subprocess.run(["tar", *options, "-cf", target, "-C", source, "."], check=True)
        return target

    return pack


def _zip(source: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            name = str(path.relative_to(source))
            if path.is_symlink():
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, str(path.readlink()))
            else:
                archive.write(path, name)
    return target


PACKERS = {
    "tar": _tar_with(),
    "gzip": _tar_with("--gzip"),
    "bzip2": _tar_with("--bzip2"),
    "xz": _tar_with("--xz"),
    "zstd": _tar_with("--zstd"),
    "zip": _zip,
}


def python_script(executable: str) -> Item:
    """A `bin/python3` that starts another one: small, and an interpreter nevertheless."""
    return file("bin/python3", f'#!/bin/sh\nexec {executable} "$@"\n'.encode(), 0o755)


def environment(path: Path, *items: Item, below: str = "", program: str = "gzip") -> Path:
    """An archive of an environment with the Python that runs this, and these entries."""
    plain = path.with_name(f"{path.name}.plain")
    named = [item._replace(name=below + item.name) for item in (python_script(sys.executable), *items)]
    packed = compressed(tar(plain, *named), program)
    packed.replace(path)
    plain.unlink()
    return path
