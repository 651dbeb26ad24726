"""`triton-python env check`: what is said about the environment of a model."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import complaint, run
from environments import borrow_numpy, find_python, own_version, venv

from triton_python._config_text import string_parameters
from triton_python._env.model import imports_of

VERSION = ".".join(str(part) for part in sys.version_info[:3])


@dataclass(frozen=True)
class Said:
    """What one check has found."""

    name: str
    status: str
    found: str
    advice: str


def check(*arguments: str, **environment: str) -> dict[str, Said]:
    """What the checks have found, by their names; the exit status has to fit."""
    result = run("env", "check", "--json", *arguments, **environment)
    assert result.returncode in (0, 1), result
    told = json.loads(result.stdout)
    assert result.returncode == (1 if told["status"] == "failed" else 0)
    return {one["name"]: Said(**one) for one in told["checks"]}


def unwell(said: dict[str, Said]) -> set[str]:
    return {name for name, one in said.items() if one.status != "ok"}


def test_the_names_of_the_checks_are_documented(model: Path, environment: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "cli.md").read_text()
    text = text.split("\n## `triton-python env check`\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([a-z][a-z+-]*)` \|", text, re.MULTILINE)
    (model / "1" / "model.py").write_text("def broken(:")
    shutil.copy("/bin/true", model / "triton_python_backend_stub")
    ask_for(model, str(environment))

    broken = list(check(str(model)))
    (model / "1" / "model.py").write_text("import numpy")
    whole = list(check(str(model)))

    assert [*broken, *(name for name in whole if name not in broken)] == documented


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that imports numpy, and asks for no environment."""
    folder = tmp_path / "models" / "m"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("import numpy as np\nimport triton_python_backend_utils\n")
    (folder / "config.pbtxt").write_text('backend: "python"\n')
    return folder


def ask_for(model: Path, environment: str) -> None:
    parameter = f'{{ key: "EXECUTION_ENV_PATH", value: {{ string_value: "{environment}" }} }}'
    (model / "config.pbtxt").write_text(f'backend: "python"\nparameters: {parameter}\n')


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    borrow_numpy(venv(tmp_path / "environment"))
    return tmp_path / "environment"


def test_a_model_without_an_environment_is_checked_with_the_default_python(model: Path) -> None:
    said = check(str(model), "--python", sys.executable)

    assert unwell(said) == set()
    assert said["interpreter"].found.startswith(
        f"{sys.executable}: given with --python, because the model asks"
    )
    assert f"Python {VERSION}, .cpython-" in said["python"].found
    assert said["compiled-module"].found.endswith(f"({own_version()})")
    assert said["numpy"].found.startswith("numpy ")
    assert said["glibc"].found.startswith("glibc 2.")
    assert "libstdc++.so.6" in said["libstdc++"].found
    assert "GLIBCXX_3.4." in said["libstdc++"].found
    assert said["imports"].found == said["numpy"].found


def test_the_path_of_a_model_py_will_do_as_well(model: Path, environment: Path) -> None:
    """With the configuration of the model that it belongs to."""
    ask_for(model, str(environment))

    said = check(str(model / "1" / "model.py"))

    assert unwell(said) == set()
    assert said["interpreter"].found == f"{environment}/bin/python3: EXECUTION_ENV_PATH {environment}"


def test_a_model_with_a_folder_is_checked_with_the_python_of_that_folder(
    model: Path, environment: Path
) -> None:
    (model / "env").symlink_to(environment)
    ask_for(model, "$$TRITON_MODEL_DIRECTORY/env")

    said = check(str(model))

    assert unwell(said) == set()
    assert said["interpreter"].found == (
        f"{model}/env/bin/python3: EXECUTION_ENV_PATH $$TRITON_MODEL_DIRECTORY/env"
    )
    assert f"prefix {model}/env" in said["python"].found


def test_people_see_a_line_for_each_check_and_what_to_do(model: Path, environment: Path) -> None:
    (model / "1" / "model.py").write_text("import numpy\nimport no_such_package\nimport yaml_no\n")
    ask_for(model, str(environment))

    result = run("env", "check", str(model))

    assert result.returncode == 1
    assert "ok      interpreter " in result.stdout
    assert "imports what is missing there: no_such_package, yaml_no; it has numpy " in result.stdout
    assert f"→ {environment}/bin/python3 -m pip install no_such_package yaml_no" in result.stdout


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("no/such/environment", "which does not exist"),
        ("bare", "it cannot be imported: No module named 'numpy'"),
        ("broken", "it cannot be imported: "),
        ("empty", "is not a Python environment"),
        ("model.tar.gz", "expected an environment's folder, an archive of one"),
    ],
)
def test_an_environment_that_cannot_run_the_model_is_told_with_its_fix(
    name: str, found: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.tar.gz").write_text("x" * 2000)
    venv(tmp_path / "bare")
    site = venv(tmp_path / "broken")
    (site / "numpy").mkdir()
    (site / "numpy" / "__init__.py").write_text("raise OSError('no libopenblas here')\n")
    ask_for(model, str(tmp_path / name))

    said = check(str(model), "--cache", str(tmp_path / "cache"))

    bad = [one for one in said.values() if one.status == "failed"]
    assert any(found in one.found for one in bad)
    assert all(one.advice for one in bad)


def test_what_ends_the_process_is_told_and_does_not_end_the_check(model: Path, environment: Path) -> None:
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "numpy").unlink()
    (site / "numpy").mkdir()
    (site / "numpy" / "__init__.py").write_text("import os\nos.abort()\n")
    ask_for(model, str(environment))

    said = check(str(model))

    assert said["numpy"].status == "failed"
    assert "it was ended by SIGABRT" in said["numpy"].found
    assert said["imports"].status == "warning"


def test_a_python_without_a_compiled_module_is_told_how_to_get_one(model: Path, tmp_path: Path) -> None:
    other = next(filter(None, map(find_python, ("3.13", "3.12", "3.10", "3.9"))), None)
    if other is None or str(sys.version_info[1]) == other.name.split(".")[-1]:
        pytest.skip("no other Python on PATH or in pyenv")
    venv(tmp_path / "other", other)
    ask_for(model, str(tmp_path / "other"))

    said = check(str(model))

    if said["compiled-module"].status == "ok":
        pytest.skip(f"our compiled module is built for {other}, too")
    assert said["compiled-module"].found == "there is none for this Python"
    assert f"triton-python stub build --python {tmp_path}/other/bin/python3" in said["compiled-module"].advice


def test_a_stub_of_nvidias_backend_is_told(model: Path) -> None:
    shutil.copy("/bin/true", model / "triton_python_backend_stub")

    said = check(str(model), "--python", sys.executable)

    assert said["environment"].status == "warning"
    assert "triton_python_backend_stub" in said["environment"].found
    assert said["environment"].advice


def test_a_model_py_that_is_not_there_or_no_python_is_told(model: Path) -> None:
    (model / "1" / "model.py").write_text("def broken(:\n")
    assert "cannot be read: invalid syntax" in check(str(model), "--python", sys.executable)["model"].found

    (model / "1" / "model.py").unlink()

    said = check(str(model), "--python", sys.executable)
    assert said["model"].found == f"there is no {model}/1/model.py"
    assert said["numpy"].status == "ok"


def test_what_is_no_model_is_an_error(model: Path, tmp_path: Path) -> None:
    assert "there is no model in" in complaint(run("env", "check", str(tmp_path / "models")))
    assert "check the path" in complaint(run("env", "check", str(tmp_path / "no")))

    (model / "config.pbtxt").write_text('backend: "onnxruntime"\n')

    assert "its backend is onnxruntime" in complaint(run("env", "check", str(model)))


def test_modules_beside_the_model_are_not_missing(model: Path) -> None:
    (model / "1" / "sibling.py").write_text("")
    (model / "shared.py").write_text("")
    (model / "1" / "model.py").write_text("import sibling, shared, os, sys\n")

    said = check(str(model), "--python", sys.executable)

    assert said["imports"] == Said("imports", "ok", "nothing but the standard library", "")


def test_only_imports_that_the_model_cannot_do_without_count(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("""
from __future__ import annotations
import a.b, c as d
from e.f import g
from . import sibling
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import not_this
try:
    import perhaps
except ImportError:
    perhaps = None
try:
    import always
finally:
    pass
if a.fast:
    import fast, both
else:
    import slow, both
def later():
    import not_yet
class Model:
    import inside
""")

    assert imports_of(file) == ["__future__", "a", "always", "both", "c", "e", "inside", "typing"]


@pytest.mark.parametrize(
    "text",
    [
        'parameters: { key: "P" value: { string_value: "v" } }',
        'parameters { key: "P", value { string_value: "v" } }',
        "parameters [ { key: 'O' value { string_value: 'x' } }, { value: { string_value: 'v' } key: 'P' } ]",
        'parameters < key: "P" value: < string_value: "v" > > # { key: "P"',
        'parameters: [{ key: "P" value: { string_value: "" "v" }; }]',
        'input { name: "parameters" } parameters { key: "P" value { string_value: "\\v" } }',
    ],
)
def test_parameters_are_read_however_they_are_punctuated(text: str) -> None:
    assert string_parameters(text)["P"] == "v"


def test_parameters_of_other_messages_do_not_count() -> None:
    text = 'optimization { graph { parameters { key: "P" value { string_value: "v" } } } }'
    assert string_parameters(text) == {}
    assert string_parameters('parameters { key: "A\\"B" value { string_value: "a\\nb" } }') == {'A"B': "a\nb"}


def test_the_environment_is_activated_for_the_check(model: Path, environment: Path, tmp_path: Path) -> None:
    ask_for(model, str(environment))
    site = next((environment / "lib").glob("python*/site-packages"))
    told = "os.environ.get('VIRTUAL_ENV', '-') + os.environ['PATH'] + chr(10)"
    (site / "tell.pth").write_text(f"import os; open({str(tmp_path / 'told')!r}, 'a').write({told})\n")

    assert unwell(check(str(model))) == set()

    lines = (tmp_path / "told").read_text().splitlines()
    assert lines[-1].startswith(f"{environment}{environment}/bin:")
