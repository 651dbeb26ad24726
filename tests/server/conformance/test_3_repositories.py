"""Models and their folders: files beside them, the Python that runs them, and a repository that stays so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.calls import CALLER_CONFIG, ask, caller
from serving.client import Client
from serving.repository import identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until


def test_a_model_reads_files_beside_it(
    load: Load, http: Client, server: TritonServer, repository: Path, model_name: str
) -> None:
    """By its own file's place, and by what initialize gets; relative paths count from the server's folder."""
    folder = write_model(repository, model_name, None)
    (folder / "1" / "data.txt").write_text("beside")
    (folder / "labels.txt").write_text("above")
    model = load(
        caller(
            """
            beside = os.path.join(os.path.dirname(__file__), "data.txt")
            again = os.path.join(self.args["model_repository"], self.args["model_version"], "data.txt")
            above = os.path.join(self.args["model_repository"], "labels.txt")
            return [*(open(path).read() for path in (beside, again, above)), os.getcwd()]
            """,
            """
            def initialize(self, args):
                self.args = args
            """,
        ),
        CALLER_CONFIG,
    )
    assert ask(http, model) == ["beside", "beside", "above", str(Path(f"/proc/{server.pid}/cwd").readlink())]


def test_a_model_starts_the_python_that_runs_it(load: Load, http: Client) -> None:
    """sys.executable is an interpreter, with the same packages, and not a program that embeds one."""
    model = load(
        "import subprocess\nimport sys\n"
        + caller("""
            script = "import sys, numpy; print(sys.prefix, numpy.__file__, sep=chr(10))"
            run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            return [run.stdout.split(), [sys.prefix, np.__file__]]
        """),
        CALLER_CONFIG,
    )
    started, own = ask(http, model)
    assert started == own


IMPORTING = """
import module_beside

from . import part_of_version
from package_beside import inner


class TritonPythonModel:
    def initialize(self, args):
        with open(NOTES, "a") as notes:
            notes.write("initialized;")
        import imported_in_initialize

    def execute(self, requests):
        import imported_in_execute
        from . import imported_relatively
        from package_beside import imported_inside
        import module_above

        import triton_python_backend_utils as pb_utils

        outputs = [pb_utils.Tensor("OUT", one.inputs()[0].as_numpy()) for one in requests]
        return [pb_utils.InferenceResponse([output]) for output in outputs]
"""
MODULES = (
    "1/module_beside.py",
    "1/part_of_version.py",
    "1/package_beside/__init__.py",
    "1/package_beside/inner.py",
    "1/package_beside/imported_inside.py",
    "1/imported_in_initialize.py",
    "1/imported_in_execute.py",
    "1/imported_relatively.py",
    "module_above.py",
)


def write_importing(repository: Path, notes: Path) -> Path:
    folder = write_model(
        repository, "importing", IMPORTING.replace("NOTES", repr(str(notes))), identity_config("INT32")
    )
    for module in MODULES:
        (folder / module).parent.mkdir(exist_ok=True)
        (folder / module).write_text("")
    return folder


@pytest.mark.differs("pycache")
def test_a_server_that_looks_for_changes_finds_none(start_server: StartServer, tmp_path: Path) -> None:
    """A `__pycache__` that Python leaves beside a module is a change: the model would be loaded anew."""
    repository, notes = tmp_path / "repository", tmp_path / "notes"
    repository.mkdir()
    folder = write_importing(repository, notes)
    before = sorted(folder.rglob("*"))
    server = start_server(
        repository=repository,
        explicit=False,
        options=["--model-control-mode=poll", "--repository-poll-secs=1"],
        environment={"PYTHONDONTWRITEBYTECODE": None},
    )
    sent = {"IN": np.array([7], np.int32)}

    with Client(server) as client:
        assert client.infer("importing", sent)["OUT"].tolist() == [7]
        for number in range(3):  # each is found by another look at the repository
            write_model(repository, f"new{number}", model_code("identity"), identity_config("INT32"))
            wait_until(
                "a look at the repository", lambda n=number: client.state(f"new{n}").startswith("READY")
            )
        assert client.infer("importing", sent)["OUT"].tolist() == [7]

    assert sorted(folder.rglob("*")) == before
    assert notes.read_text() == "initialized;"


def test_a_changed_model_is_loaded_anew(start_server: StartServer, tmp_path: Path) -> None:
    """With the new text of its modules, not with what was compiled before."""
    repository, notes = tmp_path / "repository", tmp_path / "notes"
    repository.mkdir()
    folder = write_importing(repository, notes)
    server = start_server(
        repository=repository,
        explicit=False,
        options=["--model-control-mode=poll", "--repository-poll-secs=1"],
        environment={"PYTHONDONTWRITEBYTECODE": None},
    )
    assert notes.read_text() == "initialized;"

    (folder / "1" / "imported_in_initialize.py").write_text(f"open({str(notes)!r}, 'a').write('changed;')")

    wait_until("the model to be loaded anew", lambda: notes.read_text().endswith("initialized;changed;"))
    assert server.is_live()


def test_a_repository_that_cannot_be_written_to_is_enough(start_server: StartServer, tmp_path: Path) -> None:
    repository, notes = tmp_path / "repository", tmp_path / "notes"
    repository.mkdir()
    folder = write_importing(repository, notes)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    server = start_server(repository=repository, explicit=False)

    with Client(server) as client:
        assert client.infer("importing", {"IN": np.array([7], np.int32)})["OUT"].tolist() == [7]
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
