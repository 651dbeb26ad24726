"""Archives that are cut off, corrupt, or no archives: errors that name them, and nothing left."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from packing import CHANGED, PACKERS, compressed, file, folder, tar, zipped
from unpacking import refusal

from triton_python_backend_utils.launch.archives import unpack
from triton_python_backend_utils.launch.problem import EnvironmentProblem

DAMAGED = "is damaged or incomplete: "


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "python3").write_bytes(os.urandom(200_000))
    (source / "lib").mkdir()
    for number in range(20):
        (source / "lib" / f"{number}.py").write_text(f"text = {number}\n" * 200)
    return source


@pytest.mark.parametrize("where", [0.02, 0.3, 0.7, 0.99, -1, -4, -8])
@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_that_is_cut_off_is_refused(source: Path, tmp_path: Path, kind: str, where: float) -> None:
    archive = PACKERS[kind](source, tmp_path / "archive")
    data = archive.read_bytes()
    if kind == "tar" and where < 0:
        where -= 10_240  # past the padding, which nobody needs
    archive.write_bytes(data[: int(len(data) * where) if where > 0 else int(where)])

    assert DAMAGED in refusal(archive)


def test_a_tar_archive_that_is_cut_between_two_entries_is_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "archive.tar", file("a", b"x" * 512), file("b", b"y" * 512))
    archive.write_bytes(archive.read_bytes()[:2048])

    assert "it is cut off: its end mark is missing" in refusal(archive)

    packed = compressed(archive, "gzip")  # no checksum is wrong there
    archive.unlink()
    assert "it is cut off: its end mark is missing" in refusal(packed)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd", "zip"])
def test_bytes_that_changed_on_the_way_are_found(source: Path, tmp_path: Path, kind: str) -> None:
    archive = PACKERS[kind](source, tmp_path / "archive")
    data = archive.read_bytes()
    archive.write_bytes(data[:100_000] + bytes([data[100_000] ^ 1]) + data[100_001:])

    assert DAMAGED in refusal(archive)


def test_a_wrong_checksum_at_the_end_is_found(source: Path, tmp_path: Path) -> None:
    archive = PACKERS["gzip"](source, tmp_path / "archive")
    data = archive.read_bytes()
    archive.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])

    assert "CRC check failed" in refusal(archive)


def test_a_header_that_makes_no_sense_is_found(tmp_path: Path) -> None:
    archive = tar(tmp_path / "archive.tar", file("a", b"x" * 512), file("b", b"y" * 512))
    data = bytearray(archive.read_bytes())
    data[1024 + 10] ^= 1
    archive.write_bytes(data)

    assert "the header of an entry makes no sense (bad checksum)" in refusal(archive)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_random_damage_is_refused_or_harmless(tmp_path: Path, kind: str, seed: int) -> None:
    """Headers lie open in these: whatever they come to say, the answer is an error or an unpacked folder."""
    dice = random.Random(seed)
    pack = {"tar": tar, "zip": zipped}[kind]
    archive = pack(tmp_path / "archive", folder("a"), *(file(f"a/{n}", b"text" * n) for n in range(20)))
    data = bytearray(archive.read_bytes())
    for _ in range(dice.randrange(1, 40)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    archive.write_bytes(data)
    target = tmp_path / "unpacked"

    text = ""
    with archive.open("rb") as opened:
        try:
            unpack(opened, archive, target)
        except EnvironmentProblem as problem:
            text = str(problem)

    assert target.exists() if text == "" else str(archive) in text and not target.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"archive", "unpacked"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PK", "is no archive of a kind that is known"),
        (b"hello, world " * 100, "is no archive of a kind that is known"),
        (b"7z\xbc\xaf\x27\x1c" + b"x" * 600, "is no archive of a kind that is known"),
        (gzip.compress(b"hello, world " * 100), "there is no tar archive in it"),
        (gzip.compress(b""), "there is no tar archive in it (empty file)"),
        (gzip.compress(b"x" * 100), "there is no tar archive in it (truncated header)"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    archive = tmp_path / "env.tar.gz"
    archive.write_bytes(content)

    text = refusal(archive)

    assert said in text
    assert ".tar.gz, .tar.zst, .tar.xz, .tar.bz2, .tar or .zip" in text or DAMAGED in text


def test_the_fix_is_told(tmp_path: Path) -> None:
    archive = tmp_path / "env.tar.gz"
    archive.write_bytes(gzip.compress(b"x" * 1000))

    assert refusal(archive).endswith(
        "Pack it again, or copy it again and compare its checksum with the original's"
    )


def test_a_zip_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive.zip", file("a"))
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # in the entry's header
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # and in the directory
    archive.write_bytes(data)

    assert "without a password" in refusal(archive)


def test_a_zip_archive_with_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive.zip", file("a"))
    data = bytearray(archive.read_bytes())
    data[8] = data[data.rindex(b"PK\x01\x02") + 10] = 97
    archive.write_bytes(data)

    assert "the usual compression" in refusal(archive)


def test_holes_that_overlap_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as opened:
        info = tarfile.TarInfo("sparse")
        info.size, info.mtime = 512, CHANGED
        info.pax_headers = {"GNU.sparse.map": "0,256,128,256", "GNU.sparse.size": "1024"}
        opened.addfile(info, io.BytesIO(bytes(512)))

    assert "the holes of 'sparse' make no sense" in refusal(archive)


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """tarfile takes the longer names and the extra fields of an entry into memory, however long they are."""
    archive = tmp_path / "archive.tar"
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 6 << 30
    with archive.open("wb") as output:
        output.write(info.tobuf(tarfile.GNU_FORMAT))
        output.truncate(6 << 30)

    assert "it has a header of 6442450944 bytes" in refusal(archive)


def test_zip_entries_that_lie_over_each_other_are_refused_or_counted(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive.zip", file("a", b"x" * 100), file("b", b"x" * 100))
    with zipfile.ZipFile(archive) as opened:
        first, second = opened.infolist()
    data = archive.read_bytes()
    where = data.rindex(b"PK\x01\x02") + 42
    offset = second.header_offset.to_bytes(4, "little")
    assert data[where : where + 4] == offset
    archive.write_bytes(data[:where] + first.header_offset.to_bytes(4, "little") + data[where + 4 :])

    assert DAMAGED in refusal(archive)
