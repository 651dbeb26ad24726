"""load_model, unload_model and is_model_ready: what they do, what is refused, what goes on meanwhile."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import identity_config, model_code, write_model
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.server import TritonServer
from serving.types import Load, StartServer
from serving.waiting import wait_until

IDENTITY = model_code("identity")
INT32 = identity_config("INT32")
ONE = np.array([1], np.int32)
IDENTITY_JSON = (
    '{"backend": "python", "max_batch_size": 0,'
    ' "input": [{"name": "IN", "data_type": "TYPE_INT32", "dims": [-1]}],'
    ' "output": [{"name": "OUT", "data_type": "TYPE_INT32", "dims": [-1]}],'
    ' "parameters": {"said": {"string_value": "by load_model"}}}'
)

# Loads only when there is a file `go` in its folder; says in a file `began` that it waits.
SLOW_LOAD = """
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = Path(args["model_repository"])
        (folder / "began").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)

    def execute(self, requests):
        tensors = [pb_utils.Tensor("OUT", one.inputs()[0].as_numpy()) for one in requests]
        return [pb_utils.InferenceResponse([tensor]) for tensor in tensors]
"""


@pytest.fixture
def child(repository: Path, model_name: str) -> str:
    """A model in the repository that nobody has loaded."""
    name = f"{model_name}_child"
    write_model(repository, name, IDENTITY, INT32)
    return name


def prefixed(what: str, model: str, text: str) -> list[str]:
    return [
        "TritonModelException",
        f"{what}: Failed to process the request for model '{model}_0', message: {text}",
    ]


# --- what they do ---


def test_a_model_is_loaded_looked_at_and_unloaded(load: Load, http: Client, child: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"""
        answer = [pb_utils.is_model_ready("{child}")]
        answer.append(pb_utils.load_model("{child}"))
        answer.append(pb_utils.is_model_ready("{child}"))
    """
    assert do(http, model, script) == [False, None, True]
    assert http.infer(child, {"IN": ONE})["OUT"].tolist() == [1]
    assert do(http, model, f'answer = pb_utils.unload_model("{child}")') is None
    wait_until(
        "the model to leave", lambda: not do(http, model, f'answer = pb_utils.is_model_ready("{child}")')
    )


def test_names_of_arguments_and_bytes(load: Load, http: Client, child: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"""
        pb_utils.load_model(model_name=b"{child}", config=b"", files=None)
        answer = pb_utils.is_model_ready(model_name=b"{child}", model_version=b"1")
        pb_utils.unload_model(model_name=b"{child}", unload_dependents=False)
    """
    assert do(http, model, script) is True


def test_a_configuration_can_be_given(load: Load, http: Client, child: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, f"pb_utils.load_model('{child}', config='''{IDENTITY_JSON}''')")
    parameters = http.raw.get_model_config(child)["parameters"]
    assert parameters["said"]["string_value"] == "by load_model"


FILES = {
    "one": '{"file:7/model.py": code}',
    "two": '{"file:7/model.py": code, "file:7/data.bin": b"\\x00" * 5_000_000}',
    "bytes": '{b"file:7/model.py": code}',
}


@pytest.mark.parametrize(
    "files", ["one", pytest.param("two", marks=pytest.mark.differs("several-files")), "bytes"]
)
def test_files_can_be_given(load: Load, http: Client, model_name: str, files: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    child = f"{model_name}_that_is_nowhere"
    code = base64.b64encode(IDENTITY.encode()).decode()
    do(
        http,
        model,
        f"""
        import base64
        code = base64.b64decode("{code}")
        pb_utils.load_model("{child}", '''{IDENTITY_JSON}''', {FILES[files]})
        """,
    )
    assert http.infer(child, {"IN": ONE})["OUT"].tolist() == [1]
    script = f'answer = [pb_utils.is_model_ready("{child}", version) for version in ("", "1", "7")]'
    assert do(http, model, script) == [True, False, True]
    http.unload(child)  # no folder of the repository tells of it


def test_what_depends_on_a_model_is_unloaded_when_told(
    load: Load, http: Client, child: str, repository: Path
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    ensemble = f"{child}_ensemble"
    steps = (
        f'ensemble_scheduling {{ step [ {{ model_name: "{child}" model_version: -1 '
        'input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" } } ] }'
    )
    text = INT32.replace('backend: "python"', 'platform: "ensemble"') + steps
    (repository / ensemble / "1").mkdir(parents=True)
    (repository / ensemble / "config.pbtxt").write_text(text)
    http.load(ensemble)
    both = f'answer = [pb_utils.is_model_ready(name) for name in ("{child}", "{ensemble}")]'
    assert do(http, model, both) == [True, True]
    do(http, model, f'pb_utils.unload_model("{ensemble}", unload_dependents=True)')
    wait_until("both to leave", lambda: do(http, model, both) == [False, False])


def test_an_unknown_model_is_not_ready_and_can_be_unloaded(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = 'answer = [pb_utils.is_model_ready("nobody"), pb_utils.unload_model("nobody")]'
    assert do(http, model, script) == [False, None]


def test_an_unload_is_not_waited_for(load: Load, http: Client, child: str, repository: Path) -> None:
    """The call returns while finalize runs."""
    slow = (
        IDENTITY
        + """
    def initialize(self, args):
        self.go = args["model_repository"] + "/go"

    def finalize(self):
        import os
        import time

        while not os.path.exists(self.go):
            time.sleep(0.01)
"""
    )
    folder = write_model(repository, child, slow, INT32)
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"""
        pb_utils.load_model("{child}")
        pb_utils.unload_model("{child}")
        answer = pb_utils.is_model_ready("{child}")
    """
    assert do(http, model, script) is False
    assert http.state(child).startswith("UNLOADING")
    (folder / "go").touch()
    wait_until("the model to leave", lambda: not http.state(child).startswith("UNLOADING"))


def test_initialize_may_load_another_model(load: Load, http: Client, child: str) -> None:
    code = f"""
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        pb_utils.load_model("{child}")
        assert pb_utils.is_model_ready("{child}")

    def execute(self, requests):
        return []
"""
    load(code, INT32)
    assert http.infer(child, {"IN": ONE})["OUT"].tolist() == [1]


# --- what is refused ---


@pytest.mark.differs("refused-control", run=False)
def test_why_a_load_failed_is_said(load: Load, http: Client, repository: Path, child: str) -> None:
    write_model(repository, child, "raise ValueError('no luck')", INT32)
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    kind, text = do(http, model, f'answer = failure(pb_utils.load_model, "{child}")')
    assert kind == "TritonModelException"
    start = f"Failed to load model: Failed to process the request for model '{model}_0', message: "
    assert text.startswith(start + f"load failed for model '{child}'")
    assert "no luck" in text


@pytest.mark.differs("refused-control", run=False)
def test_a_model_that_is_not_in_the_repository_is_not_loaded(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    assert do(http, model, 'answer = failure(pb_utils.load_model, "nobody")') == prefixed(
        "Failed to load model",
        model,
        "failed to load 'nobody', failed to poll from model repository",
    )


@pytest.mark.differs("refused-control", run=False)
@pytest.mark.parametrize(
    ("version", "text"),
    [
        (
            "abc",
            "failed to get model version from specified version string 'abc' (details: stol), "
            "version should be an integral value > 0",
        ),
        (
            "-4",
            "failed to get model version from specified version string '-4', "
            "version should be an integral value > 0",
        ),
    ],
)
def test_a_version_is_a_number(load: Load, http: Client, version: str, text: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    answer = do(http, model, f'answer = failure(pb_utils.is_model_ready, "{model}", "{version}")')
    assert answer == prefixed("Failed to check model readiness", model, text)


def test_files_are_a_dictionary_of_bytes(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = """
        answer = [failure(pb_utils.load_model, "nobody", "{}", files)
                  for files in ([], {"file:1/model.py": "text"})]
    """
    text = "failed to load model 'nobody', files should be a dictionary of file paths and file contents"
    assert do(http, model, script) == [
        ["TritonModelException", text],
        ["TypeError", "Object of type 'str' is not an instance of 'bytes'"],
    ]


@pytest.mark.differs("refused-control", run=False)
def test_files_need_a_configuration(load: Load, http: Client, child: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    kind, text = do(
        http, model, f'answer = failure(pb_utils.load_model, "{child}", "", {{"file:1/model.py": b""}})'
    )
    assert kind == "TritonModelException"
    assert text.startswith(prefixed("Failed to load model", model, f"failed to load '{child}'")[1])


@pytest.mark.differs("refused-control", run=False)
def test_a_server_that_chooses_its_models_itself_loads_none(
    start_server: StartServer, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    write_model(repository, "scripted", SCRIPTED, SCRIPTED_CONFIG)
    server = start_server(explicit=False, repository=repository)
    with Client(server) as http:
        script = """
            functions = (pb_utils.load_model, pb_utils.unload_model)
            answer = [failure(function, "scripted") for function in functions]
            answer.append(pb_utils.is_model_ready("scripted"))
        """
        loads, unloads, ready = do(http, "scripted", script)
    assert loads[1].startswith(
        "Failed to load model: Failed to process the request for model 'scripted_0', message: "
    )
    assert unloads[1].startswith(
        "Failed to unload model: Failed to process the request for model 'scripted_0', message: "
    )
    assert ready is True


@pytest.mark.parametrize("mode", ["none", "poll"])
def test_in_other_modes_an_unknown_model_is_not_ready_either(
    start_server: StartServer, tmp_path: Path, mode: str
) -> None:
    repository = tmp_path / "models"
    write_model(repository, "scripted", SCRIPTED, SCRIPTED_CONFIG)
    options = [f"--model-control-mode={mode}"]
    server = start_server(explicit=False, repository=repository, options=options)
    with Client(server) as http:
        script = """
            asked = [("scripted", ""), ("scripted", "1"), ("scripted", "7"), ("nobody", ""), ("nobody", "1")]
            answer = [pb_utils.is_model_ready(*one) for one in asked]
        """
        assert do(http, "scripted", script) == [True, True, False, False, False]


@pytest.mark.differs("control-in-auto-complete", run=False)
def test_neither_auto_complete_nor_finalize_may_control_models(
    load: Load, http: Client, server: TritonServer
) -> None:
    code = """
import triton_python_backend_utils as pb_utils


def refusals():
    for function in (pb_utils.load_model, pb_utils.unload_model, pb_utils.is_model_ready):
        try:
            function("nobody")
        except pb_utils.TritonModelException as error:
            print("refused:", error, flush=True)


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        refusals()
        return config

    def execute(self, requests):
        return []

    def finalize(self):
        refusals()
"""
    text = "works from 'initialize' on until 'finalize' begins, and not in 'auto_complete_config'"
    start = len(server.log())
    model = load(code, INT32)
    refused = [line for line in server.log()[start:].splitlines() if "refused:" in line]
    assert [text in line for line in refused] == [True, True, True]
    start = len(server.log())
    http.unload(model)
    wait_until("the refusals of finalize", lambda: server.log()[start:].count(text) == 3)


# --- what goes on meanwhile ---


@pytest.mark.differs("slow-control", run=False)
def test_threads_of_a_model_go_on_while_another_loads(
    load: Load, http: Client, repository: Path, child: str
) -> None:
    folder = write_model(repository, child, SLOW_LOAD, INT32)
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"""
        import threading
        loading = threading.Thread(target=pb_utils.load_model, args=("{child}",))
        loading.start()
    """
    do(http, model, script)
    wait_until("the load to begin", lambda: (folder / "began").exists())
    # Batches are served, others are asked, and more is logged, with the load under way.
    during = f"""
        gauge = pb_utils.MetricFamily("while_loading", "", pb_utils.MetricFamily.GAUGE).Metric
        pb_utils.Logger.log_info("still here")
        answer = [loading.is_alive(), pb_utils.is_model_ready("{model}"), pb_utils.is_model_ready("{child}")]
    """
    assert do(http, model, during) == [True, True, False]
    (folder / "go").touch()
    assert do(http, model, f'loading.join(); answer = pb_utils.is_model_ready("{child}")') is True


@pytest.mark.differs("slow-control", run=False)
def test_a_stub_that_dies_while_it_loads_a_model_harms_nothing(
    load: Load, http: Client, server: TritonServer, repository: Path, child: str
) -> None:
    folder = write_model(repository, child, SLOW_LOAD, INT32)
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    (stub,) = server.stubs()
    script = f"""
        import threading
        threading.Thread(target=pb_utils.load_model, args=("{child}",)).start()
    """
    do(http, model, script)
    wait_until("the load to begin", lambda: (folder / "began").exists())
    os.kill(stub.pid, signal.SIGKILL)
    (folder / "go").touch()
    wait_until("the load to end", lambda: http.raw.is_model_ready(child))
    assert http.infer(child, {"IN": ONE})["OUT"].tolist() == [1]


def test_a_model_may_unload_itself(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    assert do(http, model, f'answer = [pb_utils.unload_model("{model}")]') == [None]
    wait_until("the model to leave", lambda: not http.raw.is_model_ready(model))


@pytest.mark.ours
def test_more_loads_than_the_server_runs_at_once_are_refused(
    load: Load, http: Client, repository: Path, child: str
) -> None:
    folder = write_model(repository, child, SLOW_LOAD, INT32)
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"""
        import threading
        refused = []
        def one():
            try:
                pb_utils.load_model("{child}")
            except pb_utils.TritonModelException as error:
                refused.append(str(error))
        threads = [threading.Thread(target=one) for _ in range(70)]
        for thread in threads: thread.start()
    """
    do(http, model, script)
    wait_until("some to be refused", lambda: do(http, model, "answer = len(refused)") == 6)
    (folder / "go").touch()
    script = "for thread in threads: thread.join()\nanswer = refused"
    refused = do(http, model, script)
    assert len(refused) == 6
    assert all("64 loads and unloads of this instance are under way" in text for text in refused)


def test_where_a_model_lies(load: Load, http: Client, repository: Path) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = """
        import multiprocessing, threading
        answer = [pb_utils.get_model_dir()]
        thread = threading.Thread(target=lambda: answer.append(pb_utils.get_model_dir()))
        thread.start(); thread.join()
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        child = context.Process(target=lambda: there.send(pb_utils.get_model_dir()))
        child.start()
        answer.append(here.recv())
        child.join()
    """
    assert do(http, model, script) == [str(repository / model / "1")] * 3


def test_a_forked_child_may_ask_for_models(load: Load, http: Client) -> None:
    """Over a connection of its own."""
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        def ask():
            there.send([pb_utils.is_model_ready(name) for name in ("nobody", "{model}")])
        child = context.Process(target=ask)
        child.start()
        answer = here.recv()
        child.join()
    """
    assert do(http, model, script) == [False, True]


def test_free_memory_comes_back(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = "import c_python_backend_utils as native\nanswer = native.shared_memory.free_memory()"
    do(http, model, "answer = 'x' * 5_000_000")
    before = do(http, model, script)
    do(http, model, "answer = 'x' * 5_000_000")
    assert before > 0
    assert abs(do(http, model, script) - before) < 65536
