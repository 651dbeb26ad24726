"""Archives that would become too much: for the limits, or for the disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packing import compressed, file, folder, link, tar, zipped
from restricted import in_namespace, may_mount, with_limit
from unpacking import refusal

import triton_python_backend_utils
from triton_python_backend_utils.launch.archives import unpack
from triton_python_backend_utils.launch.limits import Limits

FIX = "unpack it yourself and name the folder in EXECUTION_ENV_PATH"
SOURCES = str(Path(triton_python_backend_utils.__file__).parent.parent)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_more_bytes_than_allowed_are_refused(tmp_path: Path, pack: Callable[..., Path]) -> None:
    archive = pack(tmp_path / "archive", file("a", b"x" * 60_000), file("b", b"y" * 60_000))

    text = refusal(archive, Limits(bytes=100_000))

    assert "unpacks to more than 100.0 kB, the limit" in text
    assert text.endswith(FIX)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_more_entries_than_allowed_are_refused(tmp_path: Path, pack: Callable[..., Path]) -> None:
    items = [folder("f"), *(file(f"f/{number}") for number in range(8)), link("l", "f")]
    archive = pack(tmp_path / "archive", *items)

    assert "holds more than 9 files and folders, the limit" in refusal(archive, Limits(entries=9))
    with archive.open("rb") as opened:
        unpack(opened, archive, tmp_path / "enough", Limits(entries=10))


def test_folders_that_are_only_in_names_count(tmp_path: Path) -> None:
    archive = tar(tmp_path / "archive.tar", *(file(f"{number}/a/b/c/d/e") for number in range(10)))

    assert "holds more than 50 files" in refusal(archive, Limits(entries=50))


@pytest.mark.parametrize("program", ["gzip", "xz", "zstd", "zip"])
def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, program: str) -> None:
    bomb = file("bomb", bytes(32 << 20))
    if program == "zip":
        archive = zipped(tmp_path / "archive.zip", bomb)
    else:
        plain = tar(tmp_path / "archive.tar", bomb)
        archive = compressed(plain, program)
        plain.unlink()

    text = refusal(archive, Limits(ratio=50, ratio_from_bytes=16 << 20))

    assert "unpacks to more than 50 times its own size of " in text
    with archive.open("rb") as opened:  # as long as it is small, it may be as empty as it likes
        unpack(opened, archive, tmp_path / "enough", Limits(ratio=50, ratio_from_bytes=64 << 20))


def test_what_is_no_entry_counts_as_well(tmp_path: Path) -> None:
    """Zeros without end after the end mark would be read for ever."""
    plain = tar(tmp_path / "archive.tar", file("a"))
    with plain.open("r+b") as output:
        output.truncate(32 << 20)
    archive = compressed(plain, "gzip")
    plain.unlink()

    assert "unpacks to more than 8.4 MB" in refusal(archive, Limits(bytes=8 << 20))


def test_a_declared_size_counts_for_nothing(tmp_path: Path) -> None:
    """An entry that says it is huge, in an archive that is not: it is cut off, and not too large."""
    archive = tmp_path / "archive.tar"
    info = tarfile.TarInfo("huge")
    info.size = 1 << 50
    archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 1024)

    assert "it is cut off" in refusal(archive)


def test_a_hole_is_limited_although_it_costs_nothing(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    archive = tmp_path / "archive.tar"
    command = ["tar", "--sparse", "-cf", archive, "-C", tmp_path, "sparse"]
    subprocess.run(command, check=True)
    (tmp_path / "sparse").unlink()

    assert "holds a file of 1.1 TB, and the limit is" in refusal(archive)


UNPACK = """
import sys
from pathlib import Path
from triton_python_backend_utils.launch.archives import unpack
from triton_python_backend_utils.launch.problem import EnvironmentProblem
archive, target = map(Path, sys.argv[1:])
try:
    with archive.open("rb", buffering=0) as opened:
        unpack(opened, archive, target)
except EnvironmentProblem as problem:
    print(problem)
print([path.name for path in target.parent.iterdir()])
"""


def noise(tmp_path: Path, size: int) -> Path:
    plain = tar(tmp_path / "plain.tar", file("small", b"x" * 4096), file("big", os.urandom(size)))
    return compressed(plain, "gzip")


def test_a_full_disk_leaves_nothing_and_says_what_is_needed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not may_mount("tmpfs", "size=4M", str(disk)):
        pytest.skip("this user may not mount file systems here")
    archive = noise(tmp_path, 12 << 20)
    code = tmp_path / "code.py"
    code.write_text(UNPACK)

    result = in_namespace(
        f"mount -t tmpfs -o size=4M none {disk}\n"
        f"cd / && PYTHONPATH={SOURCES} {sys.executable} -B {code} {archive} {disk}/env"
    )

    assert result.returncode == 0, result.stderr
    text, left = result.stdout.splitlines()
    assert f"{archive} cannot be unpacked into {disk}: No space left on device after " in text
    assert re.search(r", of about 1\d\.\d MB\. 4\.2 MB are free there\. ", text)
    assert text.endswith("--backend-config=python,environment-cache-directory=PATH")
    assert left == "[]"


def test_a_file_that_may_not_become_so_large_leaves_nothing(tmp_path: Path) -> None:
    archive = noise(tmp_path, 3 << 20)
    target = tmp_path / "new" / "env"
    target.parent.mkdir()
    command = [sys.executable, "-B", "-c", UNPACK, str(archive), str(target)]

    result = subprocess.run(
        with_limit("-f", 1024, command),  # in KiB
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCES},
        check=False,
    )

    text, left = result.stdout.splitlines()
    assert f"{archive} cannot be unpacked into {target.parent}: File too large after " in text
    assert left == "[]"


def test_memory_stays_small(tmp_path: Path) -> None:
    """An archive with many entries and a large file: neither is ever in memory as a whole."""
    with tarfile.open(tmp_path / "many.tar", "w") as many:
        for number in range(30_000):
            many.addfile(tarfile.TarInfo(f"d/{'x' * 80}{number}"))
    plain = tmp_path / "many.tar"
    measure = UNPACK + "import resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    few = tar(tmp_path / "few.tar", file("a"))
    peaks = {}

    for archive in (few, plain):
        target = tmp_path / f"{archive.name}.new" / "env"
        target.parent.mkdir()
        result = subprocess.run(
            [sys.executable, "-B", "-c", measure, str(archive), str(target)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCES},
            check=True,
        )
        peaks[archive] = int(result.stdout.splitlines()[-1])

    assert peaks[plain] - peaks[few] < 15_000  # KiB; a TarInfo takes about one
