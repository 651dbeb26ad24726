"""What `triton_python_backend_stub` in a model's folder is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from making import compiled
from restricted import without_powers

import triton_python_backend_utils
from triton_python_backend_utils.launch import elf
from triton_python_backend_utils.launch.elf import read_elf
from triton_python_backend_utils.launch.stub_files import NAME, StubFile, stub_file

SOURCES = str(Path(triton_python_backend_utils.__file__).parent.parent)
BODIES = {
    "pip": "import re\nimport sys\nfrom triton_python_backend_utils.stub_command import main\n"
    "if __name__ == '__main__':\n    sys.exit(main())\n",
    "module": "from triton_python_backend_utils import stub_command\nstub_command.main()\n",
    "import": "import triton_python_backend_utils.stub_command\n",
}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / NAME
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert stub_file(tmp_path) is None
    assert stub_file(tmp_path / "missing") is None


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    ("head", "python"),
    [
        ("#!/opt/env/bin/python", "/opt/env/bin/python"),
        ("#! /opt/env/bin/python3.11 -sE", "/opt/env/bin/python3.11"),
        # What pip and uv write for long paths, and for those with spaces.
        ("#!/bin/sh\n'''exec' /opt/env/bin/python \"$0\" \"$@\"\n' '''", "/opt/env/bin/python"),
        ("#!/bin/sh\n'''exec' \"/opt/my env/bin/python\" \"$0\" \"$@\"\n' '''", "/opt/my env/bin/python"),
        ("#!/bin/sh\n'''exec' '/opt/my env/bin/python' \"$0\" \"$@\"\n' '''", "/opt/my env/bin/python"),
    ],
)
def test_ours_selects_the_python_of_its_first_lines(
    tmp_path: Path, head: str, python: str, body: str
) -> None:
    path = written(tmp_path, f"{head}\n# -*- coding: utf-8 -*-\n{body}")

    assert stub_file(tmp_path) == StubFile(path, python=Path(python))


def test_a_python_on_the_path_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    written(tmp_path, f"#!/usr/bin/env -S {Path(sys.executable).name} -s\n{BODIES['pip']}")

    found = stub_file(tmp_path)

    assert found is not None
    assert found.python == Path(sys.executable)


@pytest.mark.parametrize(
    "head",
    [
        "#!/usr/bin/env python-that-is-not-there",
        "#!/usr/bin/env",
        "#!python",
        "#!",
        "#!/bin/sh\necho hello",
        "#!/bin/sh\n'''exec' \"/unclosed",
        # What uv writes for environments that can be moved: relative to where the script lies.
        "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''",
    ],
)
def test_one_of_ours_without_a_python_of_its_own_is_told(tmp_path: Path, head: str) -> None:
    path = written(tmp_path, f"{head}\n{BODIES['pip']}")

    problem = "is a script of ours that does not name its Python by an absolute path"
    assert stub_file(tmp_path) == StubFile(path, problem=problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"#!/bin/sh\nexec something\n", "is a script of somebody else's"),
        (
            b"#!/usr/bin/python3\n# from triton_python_backend_utils.stub_command import main\n",
            "is a script of somebody else's",
        ),
        (b"#!/usr/bin/python3\nimport triton_python_backend_utils\n", "is a script of somebody else's"),
        (b"", "is neither a program nor a script"),
        (b"hello", "is neither a program nor a script"),
        (b"\x7fELF", "is a program that is not linked to any Python"),
        (b"\x7fELF" + os.urandom(4096), "is a program that is not linked to any Python"),
    ],
)
def test_anything_else_is_told(tmp_path: Path, content: bytes, problem: str) -> None:
    path = written(tmp_path, content)

    assert stub_file(tmp_path) == StubFile(path, problem=problem)


def test_a_folder_or_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a" / NAME).mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / NAME).symlink_to("missing")

    assert stub_file(tmp_path / "a") == StubFile(tmp_path / "a" / NAME, problem="is a folder")
    assert stub_file(tmp_path / "b") == StubFile(
        tmp_path / "b" / NAME, problem="cannot be read (No such file or directory)"
    )


def test_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "#!/bin/sh\n")
    path.chmod(0o111)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from triton_python_backend_utils.launch.stub_files import stub_file\n"
        "print(stub_file(Path(sys.argv[1])).problem)\n"
    )

    result = subprocess.run(
        without_powers([sys.executable, "-B", "-c", code, str(tmp_path), SOURCES]),
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.stdout == "cannot be read (Permission denied)\n"


def libpython(folder: Path, name: str) -> Path:
    """A library of that name, with nothing in it."""
    return compiled(folder / name, "-shared", "-fPIC", f"-Wl,-soname,{name}")


@pytest.mark.parametrize(
    ("name", "version"),
    [("libpython3.10.so.1.0", "3.10"), ("libpython3.8.so.1.0", "3.8"), ("libpython3.13t.so", "3.13")],
)
def test_the_version_of_a_program_is_that_of_its_libpython(tmp_path: Path, name: str, version: str) -> None:
    library = libpython(tmp_path, name)
    path = compiled(tmp_path / "m" / NAME, "-Wl,--no-as-needed", str(library), f"-Wl,-rpath,{tmp_path}")
    path.chmod(0)  # it need not be one that could be run

    assert stub_file(tmp_path / "m") == StubFile(path, version=version)


def test_the_version_is_found_in_a_program_that_cannot_be_parsed(tmp_path: Path) -> None:
    path = written(tmp_path, b"\x7fELF" + bytes(2000) + b"\0libpython3.10.so.1.0\0" + bytes(100))

    assert stub_file(tmp_path) == StubFile(path, version="3.10")


def test_the_version_is_found_in_a_program_that_was_stripped_of_its_headers(tmp_path: Path) -> None:
    library = libpython(tmp_path, "libpython3.10.so.1.0")
    path = compiled(tmp_path / "m" / NAME, "-Wl,--no-as-needed", str(library))
    subprocess.run(["strip", path], check=True)
    data = bytearray(path.read_bytes())
    data[32:40] = (1 << 60).to_bytes(8, "little")  # where the segments are
    path.write_bytes(data)

    assert stub_file(tmp_path / "m") == StubFile(path, version="3.10")


def test_a_program_without_python_is_told(tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / NAME)

    found = stub_file(tmp_path)

    assert found is not None
    assert found.problem == "is a program that is not linked to any Python"


def test_the_headers_of_a_program_are_read() -> None:
    true = read_elf(Path("/bin/true"))

    assert true is not None
    assert true.machine == os.uname().machine
    assert Path(true.loader).exists()
    assert "libc.so.6" in true.needed
    assert read_elf(Path(__file__)) is None


@pytest.mark.parametrize("size", [4, 5, 20, 63, 64, 100, 300, 1000])
def test_a_program_that_is_cut_off_is_none(tmp_path: Path, size: int) -> None:
    start = Path("/bin/true").read_bytes()[:size]
    assert start.startswith(elf.MAGIC)
    path = written(tmp_path, start)

    assert read_elf(path) is None


def test_a_program_of_32_bits_and_the_other_order_is_read(tmp_path: Path) -> None:
    """The headers of a library for MIPS-like machines, made by hand: no compiler for one is at hand."""
    strings = b"\0libpython3.9.so.1.0\0"
    dynamic_at, strings_at = 52 + 2 * 32, 52 + 2 * 32 + 24
    load = [1, 0, 0x10000, 0, 4096, 4096, 5, 4096]
    dynamic = [2, dynamic_at, 0x10000 + dynamic_at, 0, 24, 24, 6, 4]
    words = [*load, *dynamic, 1, 1, 5, 0x10000 + strings_at, 0, 0]
    header = b"\x7fELF\x01\x02\x01" + bytes(9) + b"\x00\x03\x00\x14" + bytes(8)
    header += (52).to_bytes(4, "big") + bytes(10) + b"\x00\x20\x00\x02" + bytes(6)
    assert len(header) == 52
    path = written(tmp_path, header + b"".join(word.to_bytes(4, "big") for word in words) + strings)

    parsed = read_elf(path)

    assert parsed is not None
    assert (parsed.machine, parsed.needed) == ("ppc", ("libpython3.9.so.1.0",))
