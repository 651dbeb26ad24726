"""Finding the Python of an environment, and asking it what it is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from hearing import Heard
from making import compiled, pretender, python_of, venv
from restricted import in_namespace, may_mount, without_powers

import triton_python_backend_utils
from triton_python_backend_utils.launch import interpreters
from triton_python_backend_utils.launch.interpreters import PythonFacts, ask, check, find_python, is_script
from triton_python_backend_utils.launch.problem import EnvironmentProblem

SOURCES = str(Path(triton_python_backend_utils.__file__).parent.parent)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(EnvironmentProblem) as raised:
        action()
    return str(raised.value)


def test_a_venv_is_asked_for_its_own_facts(tmp_path: Path) -> None:
    folder = venv(tmp_path / "venv")

    python = find_python(folder)
    facts = ask(python)

    assert python == folder / "bin" / "python3"
    assert (facts.version, facts.implementation) == (sys.version_info[:3], "cpython")
    assert facts.version_text() == ".".join(map(str, sys.version_info[:3]))
    assert (facts.prefix, facts.base_prefix) == (str(folder), sys.base_prefix)
    assert facts.executable == str(python)
    assert facts.ext_suffix == sysconfig.get_config_var("EXT_SUFFIX")
    assert facts.machine == os.uname().machine
    assert facts.libc == os.confstr("CS_GNU_LIBC_VERSION")
    assert facts.numpy is None
    assert not facts.free_threaded
    assert any(entry.startswith(str(folder)) for entry in facts.path)
    check(python, facts, [])


def test_the_version_of_numpy_is_told_without_importing_it() -> None:
    assert ask(Path(sys.executable)).numpy == metadata.version("numpy")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
def test_other_pythons_are_asked(version: str) -> None:
    python = python_of(version)

    facts = ask(python)

    assert ".".join(map(str, facts.version[:2])) == version
    assert version.replace(".", "") in facts.ext_suffix
    check(python, facts, [])


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8"])
def test_an_old_python_is_refused(version: str) -> None:
    python = python_of(version)

    facts = ask(python)

    text = refusal(lambda: check(python, facts, []))
    assert text == (
        f"Python {facts.version_text()} ({python}) is too old: models need 3.9 or newer. "
        "Make the environment with a newer Python"
    )
    assert facts.version_text().startswith(version)


def test_the_python_of_the_system_is_asked() -> None:
    """Where /usr/bin/python3 is Debian's, it has no libpython."""
    if not Path("/usr/bin/python3").exists():
        pytest.skip("this system has no Python of its own")

    assert ask(find_python(Path("/usr"))).executable == "/usr/bin/python3"


def test_nothing_comes_from_the_current_folder_or_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "os.py", "re.py"):
        (tmp_path / name).write_text("raise RuntimeError('not the library')")
    monkeypatch.chdir(tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere"}

    assert ask(Path(sys.executable), environ).version == sys.version_info[:3]


def test_what_a_site_prints_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    folder = venv(tmp_path / "venv")
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "noisy.pth").write_text("import sys; sys.stdout.write('TPBFACTS? hello')\n")

    assert ask(folder / "bin" / "python").prefix == str(folder)


def test_python3_comes_before_python(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert find_python(tmp_path) == tmp_path / "bin" / "python"
    (tmp_path / "bin" / "python3").symlink_to("python")

    assert find_python(tmp_path) == tmp_path / "bin" / "python3"


def test_a_folder_without_python_is_no_environment(tmp_path: Path) -> None:
    text = refusal(lambda: find_python(tmp_path))

    assert text.startswith(
        f"{tmp_path} is not a Python environment: it has no bin/python3 and no bin/python."
    )
    assert "Name the folder of a conda, venv, uv, virtualenv or pyenv environment" in text


def test_an_environment_of_windows_is_told(tmp_path: Path) -> None:
    (tmp_path / "Scripts").mkdir()

    assert refusal(lambda: find_python(tmp_path)).startswith(f"{tmp_path} is an environment of Windows. ")


def test_a_python_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    folder = venv(tmp_path / "venv")
    for name in ("python", "python3"):
        (folder / "bin" / name).unlink()
        (folder / "bin" / name).symlink_to("/gone/bin/python3.11")

    text = refusal(lambda: find_python(folder))

    assert text.startswith(f"{folder}/bin/python3 is a link to /gone/bin/python3.11, ")
    assert "which does not exist here: the environment was made on another machine" in text
    assert "`triton-python env pack`" in text


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = venv(tmp_path / "venv")
    (folder / "bin").chmod(0)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from triton_python_backend_utils.launch.interpreters import find_python\n"
        "find_python(Path(sys.argv[1]))\n"
    )

    result = subprocess.run(
        without_powers([sys.executable, "-B", "-c", code, str(folder), SOURCES]),
        capture_output=True,
        text=True,
        check=False,
    )

    said = f"{folder} cannot be read by the user of the server (uid {os.geteuid()}): Permission denied"
    assert said in result.stderr


def test_a_python_without_its_library_is_told_in_the_loaders_words(tmp_path: Path) -> None:
    library = tmp_path / "libgone.so"
    compiled(library, "-shared", "-fPIC")
    python = compiled(tmp_path / "bin" / "python3", "-Wl,--no-as-needed", str(library))
    library.unlink()

    text = refusal(lambda: ask(python))

    assert text.startswith(f"{python} does not work as a Python (exit status 127): ")
    assert "libgone.so: cannot open shared object file" in text
    assert "Make the environment again on this machine" in text


def test_what_is_no_python_is_told() -> None:
    text = refusal(lambda: ask(Path("/bin/true")))

    assert text.startswith("/bin/true does not work as a Python (exit status 0): it printed nothing. ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"garbage", "is no program that this machine can run, perhaps it is damaged"),
        (b"\x7fELF\x02\x01\x01" + bytes(57), "is no program that this machine can run"),
        (b"#!/gone/bin/python3.8 -I\n", "is a script for /gone/bin/python3.8 -I, which does not exist here"),
    ],
)
def test_what_cannot_be_run_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    python = tmp_path / "python3"
    python.write_bytes(content)
    python.chmod(0o755)

    assert refusal(lambda: ask(python)).startswith(f"{python} {said}")


def test_a_python_for_another_machine_is_told(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    program = bytearray(Path(os.path.realpath("/bin/true")).read_bytes())
    program[18:20] = (21).to_bytes(2, "little")  # e_machine: PowerPC, 64 bit
    python.write_bytes(program)
    python.chmod(0o755)
    here = os.uname().machine

    assert refusal(lambda: ask(python)) == (
        f"{python} is a program for ppc64, and this machine is {here}. Make the environment on {here}"
    )


def test_a_python_for_another_libc_is_told(tmp_path: Path) -> None:
    loader = "/lib/ld-musl-x86_64.so.999"
    python = compiled(tmp_path / "python3", f"-Wl,--dynamic-linker={loader}")

    text = refusal(lambda: ask(python))

    assert f"{python} needs the loader {loader}, which this machine does not have" in text
    assert "it was built for another system (musl, such as Alpine's)" in text


def test_a_python_that_may_not_be_executed_is_told(tmp_path: Path) -> None:
    python = pretender(tmp_path / "python3")
    python.chmod(0o644)

    text = refusal(lambda: ask(python))

    assert text == f"{python} may not be executed by the user of the server: run chmod a+x {python}"


def test_a_file_system_where_nothing_can_be_run_is_told(tmp_path: Path) -> None:
    if not may_mount("tmpfs", "noexec", str(tmp_path)):
        pytest.skip("this user may not mount file systems here")
    folder = tmp_path / "noexec"
    folder.mkdir()
    code = tmp_path / "code.py"
    code.write_text(
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from triton_python_backend_utils.launch.interpreters import ask\n"
        "ask(Path(sys.argv[1]))\n"
    )

    result = in_namespace(
        f"mount -t tmpfs -o noexec none {folder}; cp /bin/true {folder}/python3\n"
        f"{sys.executable} -B {code} {folder}/python3 {SOURCES} || true"
    )

    said = f"{folder}/python3 lies on a file system that is mounted noexec, where nothing can be run"
    assert said in result.stderr


def test_a_python_that_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "LIMIT_S", 1.0)
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    heard = Heard()

    text = refusal(lambda: ask(python, alive=heard.alive))

    assert f"{python} was asked for its version and did not answer within 1 s" in text
    assert heard.signs >= 3


def facts_of(tmp_path: Path, **facts: object) -> tuple[Path, PythonFacts]:
    python = pretender(tmp_path / "bin" / "python3", **facts)
    return python, ask(python)


def test_another_implementation_is_refused(tmp_path: Path) -> None:
    python, facts = facts_of(tmp_path, implementation="pypy")

    assert refusal(lambda: check(python, facts, [])) == (
        f"{python} is pypy and not CPython, for which alone there is a compiled part. "
        "Make the environment with CPython 3.9 or newer"
    )


@pytest.mark.parametrize("place", ["here", "there", "nowhere"])
def test_a_free_threaded_build_is_refused_unless_there_is_a_compiled_part(tmp_path: Path, place: str) -> None:
    suffix = ".cpython-313t-x86_64-linux-gnu.so"
    for folder in ("here", "packages/triton_python_backend_utils"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / {"here": "here", "there": "packages/triton_python_backend_utils"}.get(place, "")).joinpath(
        f"_core{suffix}"
    ).touch()
    python, facts = facts_of(
        tmp_path,
        version=[3, 13, 0],
        ext_suffix=suffix,
        free_threaded=True,
        path=[str(tmp_path / "packages")],
    )

    if place == "nowhere":
        text = refusal(lambda: check(python, facts, [tmp_path / "here"]))
        assert (
            f"Python 3.13.0 ({python}) is a free-threaded build, for which there is no compiled part" in text
        )
        assert text.endswith("Make the environment with the usual build of Python 3.13")
    else:
        check(python, facts, [tmp_path / "here"])


def test_scripts_are_told_from_programs(tmp_path: Path) -> None:
    assert is_script(pretender(tmp_path / "python3"))
    assert not is_script(Path(sys.executable))
