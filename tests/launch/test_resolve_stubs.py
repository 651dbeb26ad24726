"""Which Python runs a model that has a `triton_python_backend_stub` in its folder."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from hearing import Heard
from making import compiled, pretender, venv
from resolving import refusal, resolved

from triton_python_backend_utils.launch import resolve as module
from triton_python_backend_utils.launch.resolve import Settings

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
STUB = "triton_python_backend_stub"


def ours(model: Path, python: Path) -> Path:
    """The console script, copied into the model's folder."""
    script = f"#!{python}\nfrom triton_python_backend_utils.stub_command import main\nmain()\n"
    (model / STUB).write_text(script)
    return model / STUB


def test_our_script_in_the_models_folder_selects_its_python(
    model: Path, settings: Settings, tmp_path: Path
) -> None:
    folder = venv(tmp_path / "venv")
    script = ours(model, folder / "bin" / "python")

    found = resolved(None, model, settings)

    assert (found.python, found.prefix) == (folder / "bin" / "python", folder)
    assert (found.environment, found.warnings) == ("", [])
    assert found.reason == f"{script} selects it"
    assert found.environ["VIRTUAL_ENV"] == str(folder)


def test_our_script_of_an_environment_that_is_gone_is_told(
    model: Path, settings: Settings, tmp_path: Path
) -> None:
    script = ours(model, tmp_path / "gone" / "bin" / "python")

    assert refusal(None, model, settings) == (
        f"{tmp_path}/gone/bin/python does not exist ({script} selects it). Name a Python that does, or "
        "remove what names this one"
    )


def test_the_parameter_overrides_our_script(model: Path, settings: Settings, tmp_path: Path) -> None:
    script = ours(model, tmp_path / "gone" / "bin" / "python")
    folder = venv(tmp_path / "venv")
    heard = Heard()

    found = resolved(folder, model, settings, heard)

    assert found.prefix == folder
    assert heard.steps[0] == (
        f"{script} selects {tmp_path}/gone/bin/python, and EXECUTION_ENV_PATH overrides it"
    )
    assert heard.warnings == []


@pytest.fixture(scope="module")
def upstream_stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that is linked to the libpython of this version."""
    folder = tmp_path_factory.mktemp("upstream")
    name = f"libpython{VERSION}.so.1.0"
    library = compiled(folder / name, "-shared", "-fPIC", f"-Wl,-soname,{name}")
    return compiled(folder / STUB, "-Wl,--no-as-needed", str(library))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of this package's folder: one with a compiled part for this Python."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / f"_core{SUFFIX}").touch()
    monkeypatch.setattr(module, "PACKAGE", folder)
    return folder


def test_a_stub_for_nvidias_backend_is_told_and_not_run(
    model: Path, settings: Settings, tmp_path: Path, upstream_stub: Path, package: Path
) -> None:
    """The default Python is of that version, and can import numpy."""
    shutil.copy(upstream_stub, model / STUB)

    found = resolved(None, model, settings)

    assert found.python == Path(sys.executable)
    assert found.reason == f"{model / STUB} was built for Python {VERSION}"
    (warning,) = found.warnings
    assert warning.startswith(
        f"{model / STUB} was built for NVIDIA's backend, with libpython{VERSION}, and is not run: "
    )


def test_a_python_of_the_stubs_version_is_looked_for_on_the_path(
    model: Path,
    settings: Settings,
    tmp_path: Path,
    upstream_stub: Path,
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One without numpy, one of another version, one that does not run, and one that will do."""
    shutil.copy(upstream_stub, model / STUB)
    name = f"python{VERSION}"
    bare = venv(tmp_path / "bare")
    (bare / "bin" / name).exists() or (bare / "bin" / name).symlink_to("python3")
    other = pretender(tmp_path / "other" / name, version=[3, 99, 0])
    broken = tmp_path / "broken" / name
    broken.parent.mkdir()
    broken.write_text("#!/gone\n")
    broken.chmod(0o755)
    good = tmp_path / "good" / "bin" / name
    good.parent.mkdir(parents=True)
    good.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    good.chmod(0o755)
    folders = [tmp_path / "missing", bare / "bin", other.parent, broken.parent]
    tried = Settings(settings.cache_directory, None, pretender(tmp_path / "old", version=[3, 7, 0]))
    monkeypatch.setenv("PATH", ":".join(map(str, folders)))

    text = refusal(None, model, tried)

    assert text.startswith(
        f"{model / STUB} was built for NVIDIA's backend and Python {VERSION}, and no Python of that version "
        f"that can run models is on the server's PATH ({tmp_path}/old is Python 3.7.0; "
    )
    assert f"{bare}/bin/{name} cannot import numpy: ModuleNotFoundError: No module named 'numpy'; " in text
    assert f"{other} is Python 3.99.0; " in text
    assert f"{broken} is a script for /gone, which does not exist here" in text
    assert text.endswith("or name an environment with EXECUTION_ENV_PATH")
    monkeypatch.setenv("PATH", ":".join(map(str, [*folders, good.parent, "/usr/bin", "/bin"])))

    assert resolved(None, model, tried).python == Path(sys.executable)


def test_a_python_of_the_stubs_version_needs_a_compiled_part(
    model: Path, settings: Settings, upstream_stub: Path, package: Path
) -> None:
    shutil.copy(upstream_stub, model / STUB)
    (package / f"_core{SUFFIX}").unlink()

    text = refusal(None, model, settings)

    assert f"for {sys.executable} there is no compiled part (_core{SUFFIX})" in text


def test_with_the_parameter_a_stub_for_nvidias_backend_is_only_told(
    model: Path, settings: Settings, tmp_path: Path, upstream_stub: Path
) -> None:
    shutil.copy(upstream_stub, model / STUB)
    folder = venv(tmp_path / "venv")

    found = resolved(folder, model, settings)

    assert found.prefix == folder
    assert f"with libpython{VERSION}, and is not run" in found.warnings[0]


@pytest.mark.parametrize("named", [True, False])
def test_a_stub_of_somebody_elses_is_told_and_not_run(
    model: Path, settings: Settings, tmp_path: Path, named: bool
) -> None:
    (model / STUB).write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    (model / STUB).chmod(0o755)
    folder = venv(tmp_path / "venv") if named else None

    found = resolved(folder, model, settings)

    assert found.python == (folder / "bin" / "python3" if folder else Path(sys.executable))
    assert found.warnings == [
        f"{model / STUB} is a script of somebody else's: it is not ours and is not run. Remove it, or copy "
        "the one that is installed with the environment that the model needs"
    ]
    assert not (tmp_path / "was-run").exists()
