"""How a model is imported, and what its process looks like from within."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from serving.client import Client
from serving.repository import config, model_code, write_model
from serving.server import TritonServer
from serving.telling import ONE, TELLING, TENSORS, telling, told
from serving.types import Load


def test_the_model_file_is_a_module_of_its_version(load: Load, http: Client) -> None:
    assert told(http, load, "[__name__, type(self).__module__, __name__ in sys.modules, __package__]") == [
        "1.model",
        "1.model",
        True,
        "1",
    ]


def test_a_model_file_may_have_another_name(load: Load, http: Client) -> None:
    text = config(*TENSORS, more='default_model_filename: "serve_this.py"')
    name, file = told(http, load, "[__name__, __file__]", text, filename="serve_this.py")
    assert name == "1.serve_this"
    assert file.endswith("/1/serve_this.py")


def test_the_process_looks_like_an_interpreter_without_a_script(load: Load, http: Client) -> None:
    seen = told(
        http,
        load,
        "[sys.argv, sys.path[0], hasattr(sys.modules['__main__'], '__file__'), sys.executable != '']",
    )
    assert seen == [[""], "", False, True]


def test_user_code_runs_on_the_main_thread(load: Load, http: Client) -> None:
    assert told(
        http,
        load,
        "[threading.current_thread() is threading.main_thread(), "
        "self.initialize_thread is threading.main_thread()]",
    ) == [True, True]


# Before, a shell started it.
@pytest.mark.newer("25.08")
def test_the_folder_and_the_environment_are_the_servers(
    load: Load, http: Client, server: TritonServer
) -> None:
    cwd, environment = told(http, load, "[os.getcwd(), dict(os.environ)]")
    assert cwd == str(Path(f"/proc/{server.pid}/cwd").readlink())
    assert environment == server.process.environment()


def test_the_import_path_ends_with_the_models_folders(load: Load, http: Client, repository: Path) -> None:
    model = load(telling("sys.path"), config(*TENSORS))
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


def test_a_model_sees_its_own_types(load: Load, http: Client) -> None:
    """What upstream's models rely on: the names, and where they say they come from."""
    assert told(
        http,
        load,
        "[pb_utils.Tensor.__module__, pb_utils.InferenceResponse.__module__, "
        "sys.modules['c_python_backend_utils'].Tensor is pb_utils.Tensor]",
    ) == ["c_python_backend_utils", "c_python_backend_utils", True]


@pytest.mark.differs("names-at-import")
def test_all_names_are_there_at_the_import(load: Load, http: Client, repository: Path) -> None:
    names = ("Tensor", "InferenceRequest", "Logger", "MetricFamily", "load_model", "TritonError")
    at_import = f"SEEN = [pb_utils.get_model_dir(), *(hasattr(pb_utils, name) for name in {names!r})]\n"
    model = load(telling("SEEN") + at_import, config(*TENSORS))
    assert json.loads(http.error(model, ONE)) == [str(repository / model / "1"), *[True] * len(names)]
