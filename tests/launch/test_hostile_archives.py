"""Archives that would write somewhere else, or something else than files, folders and links."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packing import CHANGED, Item, file, folder, hard_link, link, special, tar, zipped
from unpacking import refusal

DOTS = "has a name with '..'"
ABSOLUTE = "has an absolute name"
LEAVES = "leads out of the archive"

# What is in it -> the entry that is named, and what is said about it. Both kinds of archives hold these.
HOSTILE: dict[str, tuple[list[Item], str, str]] = {
    "dots": ([file("../evil")], "../evil", DOTS),
    "dots within": ([folder("a"), file("a/../../evil")], "a/../../evil", DOTS),
    "dots at the end": ([folder("a/..")], "a/..", DOTS),
    "absolute": ([file("/tmp/evil")], "/tmp/evil", ABSOLUTE),
    "absolute twice": ([file("//tmp/evil")], "//tmp/evil", ABSOLUTE),
    "absolute folder": ([folder("/tmp/evil")], "/tmp/evil", ABSOLUTE),
    "link out": ([link("out", "../beside")], "out", LEAVES),
    "link out from below": ([link("a/b/out", "../../../beside")], "a/b/out", LEAVES),
    "link out and in": ([link("out", "../unpacked/x")], "out", LEAVES),
    "link to absolute": ([link("bin/python", "/usr/bin/python3")], "bin/python", "`triton-python env pack`"),
    "link to nothing": ([link("out", "")], "out", "is a link to nothing"),
    "two links": (
        # The first seems to stay, until what it goes through leads somewhere else than its name says.
        [folder("a/b"), link("a/b/up", ".."), link("out", "a/b/up/../../beside")],
        "out",
        "leads out of",
    ),
    "changed by a later entry": (
        [folder("deep/er"), link("way", "deep/er"), link("p/q/out", "../../way/../x"), link("way", ".")],
        "p/q/out",
        "leads out of",
    ),
    "through a link out": (
        [folder("a/b"), link("a/b/up", ".."), link("a/x", "b/up/../.."), file("a/x/evil")],
        "a/x/evil",
        LEAVES,
    ),
    "below a file": ([file("a"), file("a/b")], "a/b", "lies below a, which is no folder"),
    "below a dangling link": ([link("a", "missing"), file("a/b")], "a/b", "a link that leads to no folder"),
    "below a link to a file": (
        [file("f"), link("a", "f"), file("a/b")],
        "a/b",
        "a link that leads to no folder",
    ),
    "folder then file": ([file("a/b"), file("a")], "a", "a folder in one place"),
    "folder then link": ([file("a/b"), link("a", ".")], "a", "a folder in one place"),
    "file at the top": ([file(".")], ".", "the name of the archive's own folder"),
    "pipe": ([special("p", tarfile.FIFOTYPE)], "p", "a named pipe"),
    "device": ([special("dev/sda", tarfile.BLKTYPE)], "dev/sda", "a device"),
    "terminal": ([special("dev/tty", tarfile.CHRTYPE)], "dev/tty", "a device"),
}
# Only tar archives have these.
HOSTILE_TAR: dict[str, tuple[list[Item], str, str]] = {
    "hard link out": ([hard_link("a", "../beside")], "../beside", DOTS),
    "hard link to absolute": ([hard_link("a", "/etc/passwd")], "/etc/passwd", ABSOLUTE),
    "hard link to nothing": ([hard_link("a", "missing")], "a", "no file that came before it"),
    "hard link to later": ([hard_link("a", "b"), file("b")], "a", "no file that came before it"),
    "hard link to a folder": ([folder("b"), hard_link("a", "b")], "a", "no file that came before it"),
    "hard link to the top": ([folder("b"), hard_link("a", ".")], "a", "no file that came before it"),
    "hard link through a link": (
        [folder("a/b"), link("a/b/up", ".."), link("a/x", "b/up/../.."), hard_link("own", "a/x/beside")],
        "a/x/beside",
        LEAVES,
    ),
    "hard link to a link, elsewhere": (
        [folder("a/b"), link("a/b/up", "../.."), file("f"), hard_link("up", "a/b/up")],
        "up",
        "leads out of",
    ),
    "unknown kind": ([special("x", b"Z")], "x", "a kind that is not known"),
}
CASES = [(tar, name) for name in [*HOSTILE, *HOSTILE_TAR]] + [(zipped, name) for name in HOSTILE]


@pytest.mark.parametrize(("pack", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_is_refused_with_the_name_of_the_entry(tmp_path: Path, pack: Callable[..., Path], name: str) -> None:
    (tmp_path / "beside").write_text("mine")
    items, entry, said = {**HOSTILE, **HOSTILE_TAR}[name]
    archive = pack(tmp_path / "archive", file("bin/python3"), *items)

    text = refusal(archive)

    assert f"its entry '{entry}' " in text or f"its entry '{entry}/' " in text
    assert said in text or (pack is zipped and "named pipe" in text)
    assert (tmp_path / "beside").read_text() == "mine"
    assert not Path("/tmp/evil").exists()


def test_the_name_in_a_long_header_counts(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as opened:
        info = tarfile.TarInfo("harmless")
        info.pax_headers = {"path": "../evil"}
        opened.addfile(info)

    assert DOTS in refusal(archive)


def test_a_socket_in_a_zip_archive_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive.zip", file("s"))
    mode = (0o100644 << 16).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(mode, (0o140644 << 16).to_bytes(4, "little")))

    assert "its entry 's' is a device, a named pipe or a socket" in refusal(archive)


def test_a_link_in_a_zip_archive_cannot_be_endless(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive.zip", link("l", "x" * 5000))

    assert "the link 'l' is too long" in refusal(archive)


def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as opened:
        info = tarfile.TarInfo("n")
        info.pax_headers = {"path": "a\0b"}
        opened.addfile(info)

    assert "zero byte" in refusal(archive)


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "archive.tar", file("/".join(["x" * 200] * 30)))

    assert "File name too long" in refusal(archive)


def test_what_a_file_was_linked_to_is_not_written_through(tmp_path: Path) -> None:
    """An outer file with a second name in the archive's folder would be the worst: it cannot come to that."""
    outer = tmp_path / "beside"
    outer.write_text("mine")
    os.utime(outer, (CHANGED, CHANGED))
    archive = tar(tmp_path / "archive.tar", link("x", "../beside"), file("x", b"evil"))

    refusal(archive)

    assert outer.read_text() == "mine"
