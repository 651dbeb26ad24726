"""The life of a model: how its file is imported, what initialize gets, when finalize comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, instance_group, model_code, parameters, write_model
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
# Answers every request with what TELL evaluates to, as JSON in the text of an error.
TELLING = """
import json
import os
import sys
import threading

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.args = args
        self.initialize_thread = threading.current_thread()

    def execute(self, requests):
        tell = json.dumps(TELL)
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError(tell)) for _ in requests]
"""


def told(http: Client, load: Load, expression: str, text: str | None = None, **options: Any) -> Any:
    model = load(TELLING.replace("TELL)", f"{expression})"), text or config(*TENSORS), **options)
    return json.loads(http.error(model, ONE))


def test_initialize_gets_seven_texts(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        TELLING.replace("TELL)", "self.args)"), config(*TENSORS, more=parameters(some_key="some value"))
    )
    args = json.loads(http.error(model, ONE))
    configuration = json.loads(args.pop("model_config"))
    assert args == {
        "model_instance_kind": "CPU",
        "model_instance_name": f"{model}_0",
        "model_instance_device_id": "0",
        "model_repository": str(server.start.repository / model),
        "model_version": "1",
        "model_name": model,
    }
    assert configuration == http.config(model)
    assert configuration["name"] == model
    assert configuration["parameters"]["some_key"] == {"string_value": "some value"}
    assert configuration["input"][0]["data_type"] == "TYPE_INT32"


def test_instances_are_numbered_in_their_names(load: Load, http: Client, tmp_path: Path) -> None:
    model = load(
        f"""
class TritonPythonModel:
    def initialize(self, args):
        open({str(tmp_path)!r} + "/" + args["model_instance_name"], "x").close()

    def execute(self, requests):
        return []
""",
        config(*TENSORS, more="instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 kind: KIND_CPU } ]"),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{model}_0_0",
        f"{model}_0_1",
        f"{model}_1_0",
    ]


def test_initialize_and_finalize_may_be_absent(load: Load, http: Client) -> None:
    model = load(model_code("identity"), config(*TENSORS))
    assert http.infer(model, ONE)["OUT"].tolist() == [1]
    http.unload(model)


FINALIZING = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/notes"

    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("executed")) for _ in requests]

    def finalize(self):
        with open(self.notes, "a") as notes:
            print("finalized", file=notes)
"""


def test_finalize_is_called_once_at_the_unload(load: Load, http: Client, repository: Path) -> None:
    model = load(FINALIZING, config(*TENSORS, more=instance_group(2)))
    notes = repository / model / "notes"
    assert http.error(model, ONE) == "executed"
    assert not notes.exists()
    http.unload(model)
    assert notes.read_text() == "finalized\n" * 2


def test_finalize_is_called_when_a_new_version_of_the_model_takes_over(
    load: Load, http: Client, repository: Path
) -> None:
    model = load(FINALIZING, config(*TENSORS))
    write_model(repository, model, FINALIZING.replace('"executed"', '"the new one"'), config(*TENSORS))
    http.load(model)
    assert http.error(model, ONE) == "the new one"
    notes = repository / model / "notes"
    wait_until("the end of the old one", lambda: notes.exists() and notes.read_text())
    assert notes.read_text() == "finalized\n"


@pytest.mark.parametrize("raised", ["ValueError('from finalize')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_an_exception_in_finalize_does_no_harm(
    load: Load, http: Client, server: TritonServer, raised: str
) -> None:
    model = load(
        FINALIZING + f"        raise {raised}\n",
        config(*TENSORS),
    )
    http.unload(model)
    name = raised.partition("(")[0]
    assert (server.start.repository / model / "notes").read_text() == "finalized\n"
    wait_until("the exception in the log", lambda: name in server.log())
    http.load(model)
    assert http.error(model, ONE) == "executed"


def test_user_code_runs_on_the_main_thread(load: Load, http: Client) -> None:
    assert told(
        http,
        load,
        "[threading.current_thread() is threading.main_thread(), "
        "self.initialize_thread is threading.main_thread()]",
    ) == [True, True]


def test_the_model_file_is_a_module_of_its_version(load: Load, http: Client) -> None:
    assert told(http, load, "[__name__, type(self).__module__, __name__ in sys.modules, __package__]") == [
        "1.model",
        "1.model",
        True,
        "1",
    ]


def test_the_process_looks_like_an_interpreter_without_a_script(load: Load, http: Client) -> None:
    seen = told(
        http,
        load,
        "[sys.argv, sys.path[0], hasattr(sys.modules['__main__'], '__file__'), sys.executable != '']",
    )
    assert seen == [[""], "", False, True]


def test_the_folder_and_the_environment_are_the_servers(
    load: Load, http: Client, server: TritonServer
) -> None:
    cwd, environment = told(http, load, "[os.getcwd(), dict(os.environ)]")
    assert cwd == str(Path.cwd())
    assert environment == server.process.environment()


def test_the_import_path_ends_with_the_models_folders(load: Load, http: Client, repository: Path) -> None:
    model = load(TELLING.replace("TELL)", "sys.path)"), config(*TENSORS))
    path = json.loads(http.error(model, ONE))
    # Then the folder of triton_python_backend_utils, if it is not found anyway.
    ours = path.index(str(repository / model / "1"))
    assert path[ours + 1] == str(repository / model)
    assert len(path) <= ours + 3


@pytest.mark.parametrize("statement", ["from . import sibling", "import sibling", "from .sibling import WHO"])
def test_a_model_may_import_a_file_beside_it(
    load: Load, http: Client, repository: Path, model_name: str, statement: str
) -> None:
    folder = write_model(repository, model_name, None)
    (folder / "1" / "sibling.py").write_text(f"WHO = {model_name!r}\n")
    code = TELLING.replace("import json\n", f"import json\n{statement}\n", 1)
    who = "WHO" if "WHO" in statement else "sibling.WHO"
    model = load(code.replace("TELL)", f"{who})"), config(*TENSORS))
    assert json.loads(http.error(model, ONE)) == model_name


def test_a_model_may_import_a_file_from_its_upper_folder(
    load: Load, http: Client, repository: Path, model_name: str
) -> None:
    folder = write_model(repository, model_name, None)
    (folder / "upper.py").write_text("WHO = 'upper'\n")
    code = TELLING.replace("import json\n", "import json\nimport upper\n", 1)
    model = load(code.replace("TELL)", "upper.WHO)"), config(*TENSORS))
    assert json.loads(http.error(model, ONE)) == "upper"


def test_a_models_files_do_not_hide_installed_modules(
    load: Load, http: Client, repository: Path, model_name: str
) -> None:
    """Its folders come last on the path."""
    (write_model(repository, model_name, None) / "1" / "numpy.py").write_text("raise RuntimeError\n")
    model = load(model_code("identity"), config(*TENSORS))
    assert http.infer(model, ONE)["OUT"].tolist() == [1]


def test_a_load_leaves_nothing_in_the_repository(load: Load, http: Client, repository: Path) -> None:
    (write_model(repository, "imported_by_the_next", None) / "1" / "sibling.py").write_text("")
    model = load(TELLING.replace("TELL)", "1)"), config(*TENSORS))
    (repository / model / "1" / "sibling.py").write_text("")
    http.load(model)
    http.error(model, ONE)
    http.unload(model)
    files = sorted(str(path.relative_to(repository / model)) for path in (repository / model).rglob("*"))
    assert files == ["1", "1/model.py", "1/sibling.py", "config.pbtxt"]


def test_a_model_file_may_have_another_name(load: Load, http: Client) -> None:
    text = config(*TENSORS, more='default_model_filename: "serve_this.py"')
    name, file = told(http, load, "[__name__, __file__]", text, filename="serve_this.py")
    assert name == "1.serve_this"
    assert file.endswith("/1/serve_this.py")


def test_a_model_sees_its_own_types(load: Load, http: Client) -> None:
    """What upstream's models rely on: the names, and where they say they come from."""
    assert told(
        http,
        load,
        "[pb_utils.Tensor.__module__, pb_utils.InferenceResponse.__module__, "
        "sys.modules['c_python_backend_utils'].Tensor is pb_utils.Tensor]",
    ) == ["c_python_backend_utils", "c_python_backend_utils", True]


def test_what_a_model_prints_is_in_the_servers_log(load: Load, http: Client, server: TritonServer) -> None:
    model = load(
        """
import sys

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        print("printed by", args["model_name"])
        print("complained by", args["model_name"], file=sys.stderr)

    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("x")) for _ in requests]
""",
        config(*TENSORS),
    )
    for line in (f"printed by {model}", f"complained by {model}"):
        wait_until("the line", lambda line=line: line in server.log())


def test_a_reload_starts_afresh(load: Load, http: Client, repository: Path) -> None:
    """A new process each time: nothing of the module that was loaded before is left."""
    model = load(TELLING.replace("TELL)", "os.getpid())"), config(*TENSORS))
    first = json.loads(http.error(model, ONE))
    for _ in range(3):
        http.unload(model)
        http.load(model)
        second = json.loads(http.error(model, ONE))
        assert second != first
        first = second


def test_the_log_says_which_python_runs_a_model_and_why(
    load: Load, server: TritonServer, http: Client
) -> None:
    model = load(TELLING.replace("TELL)", "[sys.executable, sys.prefix])"), config(*TENSORS))
    executable, _ = json.loads(http.error(model, ONE))
    lines = [line for line in server.log().splitlines() if f"model '{model}' runs in" in line]
    assert len(lines) == 1
    assert executable in lines[0]
