"""The doctor's look at model repositories: each thing that Triton would stumble over."""

from __future__ import annotations

from pathlib import Path

import pytest
from doctoring import examine

from triton_python import CheckResult, diagnose

MODEL = "class TritonPythonModel:\n    pass\n"
CONFIGURED = 'backend: "python"\n'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def write(model: Path, config: str | None = CONFIGURED, **files: str) -> Path:
    """A model with these files; `v1` stands for 1/model.py."""
    model.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (model / "config.pbtxt").write_text(config)
    for version, source in (files or {"v1": MODEL}).items():
        (model / version[1:]).mkdir()
        (model / version[1:] / "model.py").write_text(source)
    return model


def look(*places: Path) -> CheckResult:
    (result,) = [one for one in diagnose([str(place) for place in places]) if one.name == "models"]
    return result


def test_good_models_are_listed(repository: Path) -> None:
    write(repository / "one", v1=MODEL, v22=MODEL)
    write(repository / "two", config=None, v1=f"{MODEL}    def auto_complete_config(config): ...\n")
    write(repository / "other", 'platform: "onnxruntime_onnx"', v1="").joinpath("1", "model.py").unlink()
    (repository / "README.md").write_text("files do not matter")

    found = look(repository)

    assert (found.status, found.found) == ("ok", "3 found: one, other, two")


def test_the_examples_are_good_models() -> None:
    examples = Path(__file__).resolve().parent.parent / "examples"

    found = look(examples / "add_sub", examples / "digits" / "model.py")

    assert (found.status, found.found) == ("ok", "2 found: add_sub, digits")


def test_the_command_looks_at_them_too(repository: Path) -> None:
    (write(repository / "m") / "1" / "model.py").unlink()

    report = examine(str(repository))

    assert (report.exit_status, report["models"].status) == (1, "failed")


def test_no_models_are_told(repository: Path) -> None:
    found = look(repository)

    assert found.status == "failed"
    assert found.found == f"there is no model in {repository}"
    assert found.advice == "a model is a folder with config.pbtxt and 1/model.py"


def test_a_repository_that_does_not_exist_is_told(tmp_path: Path) -> None:
    found = look(tmp_path / "nowhere")

    assert (found.status, found.advice) == ("failed", "check the path")
    assert f"there is no model repository at {tmp_path / 'nowhere'}" in found.found


def test_one_in_the_cloud_is_not_looked_at() -> None:
    (found,) = [one for one in diagnose(["s3://bucket/models"]) if one.name == "models"]

    assert found.status == "ok"
    assert "not looked at: they lie in cloud storage" in found.found


@pytest.mark.parametrize("versions", [(), ("0",), ("01",), ("v1", "latest")])
def test_a_model_without_a_version_is_told(repository: Path, versions: tuple[str, ...]) -> None:
    """Triton passes over folders whose name is no number, or begins with 0."""
    model = write(repository / "m", v1=MODEL)
    (model / "1" / "model.py").unlink()
    (model / "1").rmdir()
    for version in versions:
        (model / version).mkdir()
        (model / version / "model.py").write_text(MODEL)

    found = look(repository)

    assert found.status == "failed"
    assert found.found == f"{model}: it has no version folder"
    assert "put the model into a folder named 1, as in 1/model.py" in found.advice


def test_a_version_without_its_file_is_told(repository: Path) -> None:
    model = write(repository / "m", v1=MODEL, v2=MODEL)
    (model / "2" / "model.py").rename(model / "2" / "modle.py")

    found = look(repository)

    assert (found.status, found.found) == ("failed", f"{model}: there is no 2/model.py")
    assert found.advice == "put model.py into each version folder"


def test_another_name_for_the_file_counts(repository: Path) -> None:
    model = write(repository / "m", f'{CONFIGURED} default_model_filename: "other.py"')

    assert look(repository).found == f"{model}: there is no 1/other.py"
    (model / "1" / "model.py").rename(model / "1" / "other.py")
    assert look(repository).status == "ok"


def test_a_name_that_is_not_the_folders_is_told(repository: Path) -> None:
    model = write(repository / "m", f'{CONFIGURED}input [ {{ name: "m" }} ]\nname: "n"')

    found = look(repository)

    assert (found.status, found.found) == ("failed", f"{model}: config.pbtxt names the model 'n'")
    assert "let its name be that of the folder" in found.advice
    assert look(model).status == "ok"  # named by itself it is served under that name


@pytest.mark.parametrize("name", ["with space", "a;b", "ü", "$x"])
def test_a_name_that_needs_care_is_a_warning(repository: Path, name: str) -> None:
    write(repository / name)

    found = look(repository)

    assert found.status == "warning"
    assert f"the name {name!r} has characters that need care in URLs and shells" in found.found


@pytest.mark.parametrize("name", [".git", "__pycache__", ".ipynb_checkpoints"])
def test_folders_that_are_no_models_are_told(repository: Path, name: str) -> None:
    """Triton takes every folder for a model, and fails to start."""
    write(repository / "m")
    (repository / name).mkdir()

    found = look(repository)

    assert (found.status, found.found) == ("failed", f"{repository / name}: Triton takes it for a model")
    assert found.advice == "keep other folders out of the repository"


def test_a_folder_of_which_nothing_tells_the_backend_is_told(repository: Path) -> None:
    (repository / "data" / "1").mkdir(parents=True)

    found = look(repository)

    assert found.status == "failed"
    assert f"{repository / 'data'}: nothing tells which backend it is for" in found.found


def test_a_model_without_a_configuration_is_a_warning(repository: Path) -> None:
    model = write(repository / "m", config=None)

    found = look(repository)

    assert found.status == "warning"
    assert found.found == (
        f"{model}: it has no config.pbtxt, and its model.py does not speak of auto_complete_config"
    )
    assert "write a config.pbtxt with inputs and outputs, or a method auto_complete_config" in found.advice


@pytest.mark.parametrize("place", ["", "1"])
def test_a_library_beside_the_model_is_a_warning(repository: Path, place: str) -> None:
    """Triton looks there first."""
    model = write(repository / "m")
    (model / place / "libtriton_python.so").write_text("")

    found = look(repository)

    assert found.status == "warning"
    assert f"Triton loads {Path(place, 'libtriton_python.so')} instead of the backend" in found.found


def test_all_problems_are_told(repository: Path) -> None:
    (write(repository / "one") / "1" / "model.py").unlink()
    write(repository / "two", config=None)

    found = look(repository)

    assert found.status == "failed"
    assert f"{repository / 'one'}: there is no 1/model.py; {repository / 'two'}: it has no" in found.found
