"""Loading a model: import rules, auto-complete, settings and arguments."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import triton_python_backend_utils as pb_utils
from triton_python_backend_utils import _model_loader as loader


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    version = tmp_path / "repo" / "m" / "1"
    version.mkdir(parents=True)
    return version / "model.py"


def load(model: Path) -> type:
    return loader.load_model_class(
        str(model), str(model.parent.parent), model.parent.name, "/backends/python"
    )


def load_failure(model: Path) -> str:
    with pytest.raises(BaseException) as failure:  # noqa: PT011 - the text is what the tests look at
        load(model)
    return loader.describe_exception(failure.value)


def test_module_is_named_after_version_and_file(model: Path) -> None:
    model.write_text("class TritonPythonModel: where = (__name__, __file__, __package__)")

    model_class = load(model)

    assert model_class.where == ("1.model", str(model), "1")  # type: ignore[attr-defined]
    assert sys.modules["1.model"].TritonPythonModel is model_class


def test_siblings_are_imported_both_ways(model: Path) -> None:
    model.with_name("sibling_of_model.py").write_text("value = 7")
    model.write_text(
        "import sibling_of_model\nfrom . import sibling_of_model as relative\n"
        "class TritonPythonModel: values = sibling_of_model.value, relative.value"
    )

    assert load(model).values == (7, 7)  # type: ignore[attr-defined]


def test_version_folder_may_be_a_package(model: Path) -> None:
    model.with_name("__init__.py").write_text("from .part import value")
    model.with_name("part.py").write_text("value = 7")
    model.write_text("from . import value\nclass TritonPythonModel: v = value")

    assert load(model).v == 7  # type: ignore[attr-defined]


def test_folders_are_appended_to_the_path_in_order_and_once(model: Path) -> None:
    model.write_text("class TritonPythonModel: ...")
    before = list(sys.path)

    load(model)
    load(model)

    assert sys.path == [*before, str(model.parent), str(model.parent.parent), "/backends/python"]


def test_same_folder_in_the_current_one_is_not_taken(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.write_text("from .part import right\nclass TritonPythonModel: values = True, right")
    model.with_name("part.py").write_text("right = True")
    other = tmp_path / "elsewhere" / "1"
    other.mkdir(parents=True)
    (other / "model.py").write_text("class TritonPythonModel: values = False, False")
    (other / "part.py").write_text("right = False")
    monkeypatch.chdir(other.parent)
    monkeypatch.syspath_prepend("")

    assert load(model).values == (True, True)  # type: ignore[attr-defined]


def test_no_bytecode_is_left_in_the_repository(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    model.with_name("sibling_of_model.py").write_text("")
    model.write_text("import sibling_of_model\nclass TritonPythonModel: ...")

    load(model)

    assert sorted(path.name for path in model.parent.iterdir()) == ["model.py", "sibling_of_model.py"]
    assert sys.dont_write_bytecode is False


def test_missing_file_is_told(model: Path) -> None:
    expected = f"Failed to preinitialize Python stub: Python model file not found in '{model}'"

    assert load_failure(model) == expected


def test_file_must_be_python(model: Path) -> None:
    model.with_name("foo.txt").write_text("")

    failure = load_failure(model.with_name("foo.txt"))

    assert failure == "Model name must end with '.py'. Model name is \"foo.txt\"."


def test_missing_class_is_told(model: Path) -> None:
    model.write_text("class Model: ...")

    failure = load_failure(model)

    assert failure == "AttributeError: module '1.model' has no attribute 'TritonPythonModel'"


def test_syntax_error_has_no_at_part(model: Path) -> None:
    model.write_text("x = 1\nif if\n")

    assert load_failure(model) == "SyntaxError: invalid syntax (model.py, line 2)"


def test_syntax_error_of_a_sibling_names_the_import(model: Path) -> None:
    model.with_name("sibling_of_model.py").write_text("if if\n")
    model.write_text("\nimport sibling_of_model\n")

    failure = load_failure(model)

    assert failure.startswith(
        f"SyntaxError: invalid syntax (sibling_of_model.py, line 1)\n\nAt:\n  {model}(2): <module>\n"
    )


def test_exception_at_import_is_told_from_the_deepest_frame(model: Path) -> None:
    model.write_text("def f():\n    raise ValueError('at import')\n\nf()\n")

    failure = load_failure(model)

    assert failure.startswith(f"ValueError: at import\n\nAt:\n  {model}(2): f\n  {model}(4): <module>\n")
    assert "_model_loader" not in failure
    assert "1.model" not in sys.modules


def test_auto_complete_returns_what_the_model_changed() -> None:
    class Model:
        @staticmethod
        def auto_complete_config(config: pb_utils.ModelConfig) -> pb_utils.ModelConfig:
            config.set_max_batch_size(8)
            return config

    completed = loader.auto_complete(Model, '{"name": "m", "max_batch_size": 0}', "m")

    assert json.loads(completed) == {"name": "m", "max_batch_size": 8}


def test_auto_complete_is_optional() -> None:
    assert loader.auto_complete(object, '{"name":  "m"}', "m") == '{"name":  "m"}'


@pytest.mark.parametrize("returned", [None, {"name": "m"}])
def test_auto_complete_must_return_a_model_config(returned: object) -> None:
    class Model:
        @staticmethod
        def auto_complete_config(config: pb_utils.ModelConfig) -> object:
            return returned

    text = "auto_complete_config function in model 'm' must return a valid pb.ModelConfig object."
    with pytest.raises(loader.LoadError, match=f"^{re.escape(text)}$"):
        loader.auto_complete(Model, "{}", "m")


def test_args_have_the_seven_documented_keys() -> None:
    args = loader.make_args("{}", "CPU", "m_0_0", "0", "/repo/m", "1", "m")

    assert args == {
        "model_config": "{}",
        "model_instance_kind": "CPU",
        "model_instance_name": "m_0_0",
        "model_instance_device_id": "0",
        "model_repository": "/repo/m",
        "model_version": "1",
        "model_name": "m",
    }


def test_settings_have_defaults() -> None:
    assert loader.read_settings("{}") == loader.ModelSettings(0, False, True)


def test_settings_are_read() -> None:
    config = {
        "max_batch_size": 4,
        "model_transaction_policy": {"decoupled": True},
        "parameters": {"FORCE_CPU_ONLY_INPUT_TENSORS": {"string_value": "no"}},
        "sequence_batching": {"state": [{"input_name": "A", "output_name": "B"}, {"output_name": "C"}]},
    }

    assert loader.read_settings(json.dumps(config)) == loader.ModelSettings(4, True, False, ("B", "C"))


def test_settings_of_supervision_are_read() -> None:
    values = {"EXECUTE_TIMEOUT_SECONDS": "0.5", "REPLAY_AFTER_CRASH": "yes"}
    config = {"parameters": {name: {"string_value": value} for name, value in values.items()}}

    settings = loader.read_settings(json.dumps(config))

    assert (settings.execute_timeout_ms, settings.replay_after_crash) == (500, True)


def test_force_cpu_must_be_yes_or_no() -> None:
    config = {"parameters": {"FORCE_CPU_ONLY_INPUT_TENSORS": {"string_value": "maybe"}}}

    with pytest.raises(
        loader.UnsupportedSetting, match=r"^Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: maybe'$"
    ):
        loader.read_settings(json.dumps(config))


def test_model_file_is_the_default_one_unless_the_configuration_names_another() -> None:
    assert loader.model_file("/repo/m/1/model.py", "/repo/m", "{}") == "/repo/m/1/model.py"
    unnamed = loader.model_file("/repo/m/1/model.py", "/repo/m", '{"default_model_filename": ""}')
    assert unnamed == "/repo/m/1/model.py"
    named = loader.model_file("/repo/m/1/model.py", "/repo/m", '{"default_model_filename": "main.py"}')
    assert named == "/repo/m/1/main.py"


def test_the_model_file_of_a_backend_is_always_the_one() -> None:
    config = '{"default_model_filename": "main.py"}'

    assert loader.model_file("/backends/b/model.py", "/repo/m", config) == "/backends/b/model.py"


def test_the_module_of_a_backend_has_a_plain_name_and_its_own_folder_on_the_path(
    tmp_path: Path, model: Path
) -> None:
    backend = tmp_path / "backends" / "b"
    (backend / "parts").mkdir(parents=True)
    (backend / "parts" / "one.py").write_text("value = 7")
    (backend / "model.py").write_text(
        "from parts.one import value\nclass TritonPythonModel: told = __name__, __package__, value"
    )
    before = list(sys.path)

    loaded = loader.load_model_class(
        str(backend / "model.py"), str(model.parent.parent), "1", "/backends/python"
    )

    assert loaded.told == ("model", "", 7)  # type: ignore[attr-defined]
    assert sys.path == [*before, str(backend), "/backends/python"]


def test_a_process_of_another_environment_is_refused_before_the_model_is_imported() -> None:
    """auto_complete_config may add the parameter, but it runs in a process that is started already."""
    config = {"name": "m", "parameters": {"EXECUTION_ENV_PATH": {"string_value": "/env.tar.gz"}}}

    with pytest.raises(loader.LoadError, match=r"'m' has EXECUTION_ENV_PATH '/env\.tar\.gz', and had ''"):
        loader.model_file("/repo/m/1/model.py", "/repo/m", json.dumps(config))
