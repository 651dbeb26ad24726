"""Unpacking: what goes into an archive comes out of it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable
from importlib import util
from pathlib import Path

import pytest
from packing import CHANGED, PACKERS, compressed, file, folder, hard_link, link, tar, zipped

from triton_python_backend_utils.launch import streams
from triton_python_backend_utils.launch.archives import Unpacked, kind_of, unpack
from triton_python_backend_utils.launch.problem import EnvironmentProblem

LONG = "/".join(["a-folder-whose-name-is-long"] * 12)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one of each kind of thing that environments hold."""
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "python3.11").write_bytes(os.urandom(3_000_001))
    (source / "bin" / "python3.11").chmod(0o755)
    (source / "bin" / "python3").symlink_to("python3.11")
    (source / "lib" / "empty").mkdir(parents=True)
    (source / "lib64").symlink_to("lib")
    (source / "lib" / "module.py").write_text("print('hello')\n")
    (source / LONG).mkdir(parents=True)
    (source / LONG / "größe").write_text("long")
    os.link(source / "lib" / "module.py", source / "lib" / "same.py")
    for path in source.rglob("*"):
        if path.is_file():
            os.utime(path, (CHANGED, CHANGED))
    return source


def unpacked(archive: Path, **options: object) -> Path:
    """A new folder with what came out of the archive."""
    target = archive.with_name("unpacked")
    with archive.open("rb", buffering=0) as opened:
        unpack(opened, archive, target, **options)  # type: ignore[arg-type]
    return target


def contents(root: Path) -> dict[str, tuple[str, object, int]]:
    """Path -> kind, what is in it, and mode."""
    found: dict[str, tuple[str, object, int]] = {}
    for path in root.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()), 0)
        elif path.is_dir():
            found[name] = ("folder", None, mode)
        else:
            found[name] = ("file", path.read_bytes(), mode)
    return found


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_packed_comes_out(source: Path, tmp_path: Path, kind: str) -> None:
    archive = PACKERS[kind](source, tmp_path / "archive")

    target = unpacked(archive)

    assert contents(target) == contents(source)


@pytest.mark.parametrize("kind", PACKERS)
def test_the_kind_is_told_by_the_content(source: Path, tmp_path: Path, kind: str) -> None:
    archive = PACKERS[kind](source, tmp_path / "archive.misleading.zip.tar.gz")

    with archive.open("rb") as opened:
        assert kind_of(opened.fileno()) == kind


@pytest.mark.parametrize("options", [["v7"], ["ustar"], ["gnu"], ["pax"]])
def test_every_format_of_tar_is_known(source: Path, tmp_path: Path, options: list[str]) -> None:
    if options != ["gnu"] and options != ["pax"]:
        shutil.rmtree(source / LONG.split("/")[0])  # more than those can name
    archive = tmp_path / "archive.tar"
    subprocess.run(["tar", f"--format={options[0]}", "-cf", archive, "-C", source, "."], check=True)

    assert contents(unpacked(archive)) == contents(source)


@pytest.mark.parametrize("version", ["", "0.0", "0.1", "1.0"])
def test_holes_in_files_stay_holes(tmp_path: Path, version: str) -> None:
    """The GNU format's own way (no version), and the three ways of the pax format."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as sparse:
        for offset in (0, 5_000_000, 30_000_000, 30_100_000):
            sparse.seek(offset)
            sparse.write(os.urandom(70_000))
        sparse.truncate(64 << 20)
    how = ["--format=pax", f"--sparse-version={version}"] if version else ["--format=gnu"]
    archive = tmp_path / "archive.tar"
    subprocess.run(["tar", "--sparse", *how, "-cf", archive, "-C", source, "."], check=True)
    assert archive.stat().st_size < 4 << 20

    target = unpacked(archive)

    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert (target / "sparse").stat().st_blocks * 512 < 4 << 20


@pytest.mark.parametrize("prefix", ["", "./"])
def test_hard_links_share_their_content(tmp_path: Path, prefix: str) -> None:
    archive = tar(
        tmp_path / "archive.tar",
        file("lib/libpython.so", b"\x7fELF"),
        hard_link(f"{prefix}lib/libpython.so.1.0", f"{prefix}lib/libpython.so"),
        hard_link("lib/other", "lib//libpython.so"),
    )

    target = unpacked(archive)

    assert (target / "lib" / "libpython.so").stat().st_nlink == 3
    assert (target / "lib" / "libpython.so.1.0").read_bytes() == b"\x7fELF"


def test_a_hard_link_to_a_link_is_that_link(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "archive.tar", file("a", b"text"), link("b", "a"), hard_link("c", "b"), hard_link("c", "c")
    )

    assert (unpacked(archive) / "c").readlink() == Path("a")


@pytest.mark.parametrize("pack", [tar, zipped])
def test_nobody_else_may_write_and_the_owner_may(tmp_path: Path, pack: Callable[..., Path]) -> None:
    old = os.umask(0o000)
    try:
        archive = pack(
            tmp_path / "archive",
            folder("open", 0o7777),
            folder("closed", 0o000),
            file("open/suid", mode=0o6777),
            file("open/program", mode=0o555),
            file("closed/secret", mode=0o000),
            file("made/below", mode=0o644),
        )
        target = unpacked(archive)
    finally:
        os.umask(old)

    modes = {name: mode for name, (_, _, mode) in contents(target).items()}
    assert modes == {
        "open": 0o755,
        "closed": 0o700,
        "open/suid": 0o755,
        "open/program": 0o755,
        "closed/secret": 0o600,
        "made": 0o755,
        "made/below": 0o644,
    }


def test_bytecode_stays_valid_because_times_are_kept(source: Path, tmp_path: Path) -> None:
    target = unpacked(PACKERS["gzip"](source, tmp_path / "archive"))

    assert (target / "lib" / "module.py").stat().st_mtime == CHANGED


@pytest.mark.parametrize("has_field", [True, False])
def test_times_in_zip_archives_are_kept(tmp_path: Path, has_field: bool) -> None:
    archive = tmp_path / "archive.zip"
    info = zipfile.ZipInfo("module.py", (2020, 9, 13, 14, 26, 42))
    if has_field:  # what Info-ZIP writes, in seconds since the epoch
        info.extra = b"\xaa\xaa\x01\x00." + b"UT\x05\x00\x01" + CHANGED.to_bytes(4, "little")
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(info, "")

    changed = (unpacked(archive) / "module.py").stat().st_mtime

    assert changed == CHANGED if has_field else changed % 2 == 0


@pytest.mark.parametrize("flag", [0, 0x800])
def test_names_in_zip_archives_are_utf_8(tmp_path: Path, flag: int) -> None:
    """Programs of Unix write UTF-8 and do not always say so."""
    archive = zipped(tmp_path / "archive.zip", file("größe"))
    data = archive.read_bytes()
    assert data.count(b"\x00\x08\x08\x00") == 2  # flags and method of the two headers
    archive.write_bytes(data.replace(b"\x00\x08\x08\x00", flag.to_bytes(2, "little") + b"\x08\x00"))

    assert [path.name for path in unpacked(archive).iterdir()] == ["größe"]


def test_names_need_not_be_text(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    name = b"latin-\xe9"
    (source / os.fsdecode(name)).touch()

    target = unpacked(PACKERS["gzip"](source, tmp_path / "archive"))

    assert [os.fsencode(path.name) for path in target.iterdir()] == [name]


def test_a_link_within_the_archive_may_be_gone_through(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "archive.tar",
        folder("lib"),
        link("lib64", "./lib"),
        file("lib64/a"),
        link("x", "lib/../lib"),
    )

    target = unpacked(archive)

    assert (target / "lib" / "a").is_file()
    assert (target / "lib64").is_symlink()


def test_a_later_entry_of_the_same_name_replaces_the_earlier_one(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "archive.tar",
        file("keep", b"keep"),
        hard_link("name", "keep"),
        file("name", b"second"),
        link("link", "keep"),
        file("link", b"third"),
        folder("twice"),
        folder("twice", 0o700),
        link("was-link", "twice"),
        folder("was-link"),
    )

    target = unpacked(archive)

    assert (target / "keep").read_bytes() == b"keep"
    assert (target / "name").read_bytes() == b"second"
    assert (target / "link").read_bytes() == b"third"
    assert not (target / "was-link").is_symlink()


@pytest.mark.parametrize("kind", PACKERS)
def test_progress_is_told_up_to_the_end(source: Path, tmp_path: Path, kind: str) -> None:
    archive = PACKERS[kind](source, tmp_path / "archive")
    told: list[tuple[int, int]] = []

    unpacked(archive, progress=lambda done, total: told.append((done, total)))

    size = archive.stat().st_size
    assert {total for _, total in told} == {size}
    assert all(0 <= done <= size for done, _ in told)
    assert len(told) > 5
    assert kind == "zip" or told[-1] == (size, size)


def test_says_how_much_came_out(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive.zip", file("a", b"12345"), folder("f"), link("l", "a"))

    with archive.open("rb") as opened:
        assert unpack(opened, archive, tmp_path / "target") == Unpacked(bytes=6, files=2)


def test_what_progress_raises_ends_it_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    archive = PACKERS["gzip"](source, tmp_path / "archive")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpacked(archive, progress=stop)

    assert not (tmp_path / "unpacked").exists()


PACKAGES = {"compression": "_standard_zstd", "backports": "_backport_zstd", "zstandard": "_package_zstd"}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("cut", [None, -1, 1000])
def test_zstd_is_unpacked_by_whatever_is_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, cut: int | None
) -> None:
    module = "zstandard" if package == "zstandard" else f"{package}.zstd"
    if util.find_spec(package) is None:
        pytest.skip(f"{module} is not installed here")
    monkeypatch.setattr(streams, "ZSTD", [getattr(streams, PACKAGES[package])])
    archive = PACKERS["zstd"](source, tmp_path / "archive")
    expected = contents(source)
    archive.write_bytes(archive.read_bytes()[:cut])

    if cut is None:
        assert contents(unpacked(archive)) == expected
    else:
        with pytest.raises(EnvironmentProblem, match="damaged or incomplete"):
            unpacked(archive)


def test_zstd_without_anything_that_unpacks_it_says_what_to_install(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = PACKERS["zstd"](source, tmp_path / "archive")
    monkeypatch.setattr(streams, "ZSTD", [streams._program_zstd])
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(EnvironmentProblem, match=r"backports\.zstd or zstandard, or the"):
        unpacked(archive)


def test_several_frames_are_one_archive(source: Path, tmp_path: Path) -> None:
    """As parallel compressors write them."""
    for program in ("gzip", "bzip2", "xz", "zstd"):
        plain = PACKERS["tar"](source, tmp_path / f"{program}.tar")
        data = plain.read_bytes()
        halves = []
        for number, half in enumerate((data[:1_000_000], data[1_000_000:])):
            part = tmp_path / f"part{number}"
            part.write_bytes(half)
            halves.append(compressed(part, program).read_bytes())
        plain.write_bytes(b"".join(halves))

        target = unpacked(plain)

        assert contents(target) == contents(source)
        shutil.rmtree(target)
