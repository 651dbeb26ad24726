"""Models that are wrong: the documented texts, and a server that goes on serving the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, identity_config, model_code, parameters, write_model
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
EXECUTE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
"""
GOOD = model_code("identity")


@pytest.fixture(autouse=True)
def _another_model_still_answers(server: TritonServer, http: Client) -> Iterator[None]:
    """Beside every wrong model of this module there is a right one, loaded before it."""
    write_model(server.start.repository, "bystander", GOOD, identity_config("INT32"))
    http.load("bystander")
    yield
    assert http.infer("bystander", ONE)["OUT"].tolist() == [1]


def load_error(http: Client, repository: Path, model: str, code: str | None, text: str = "") -> str:
    write_model(repository, model, code, text or config(*TENSORS))
    error = http.load_error(model)
    start = f"load failed for model '{model}': version 1 is at UNAVAILABLE state: "
    assert error.startswith(start)
    assert error.endswith(";\n")
    repair_and_load(http, repository, model)
    return error[len(start) : -2]


def repair_and_load(http: Client, repository: Path, model: str) -> None:
    """What failed can be put right and loaded, without another start of the server."""
    write_model(repository, model, GOOD, config(*TENSORS))
    http.load(model)
    assert http.infer(model, ONE)["OUT"].tolist() == [1]


def failed(model: str, text: str) -> str:
    return f"Failed to process the request(s) for model '{model}_0', message: {text}"


# --- failures of a load ---


# Before, the load waits for ever.
@pytest.mark.newer("25.08", run=False)
def test_a_missing_model_file(http: Client, repository: Path, model_name: str) -> None:
    error = load_error(http, repository, model_name, None)
    path = repository / model_name / "1" / "model.py"
    assert f"Failed to preinitialize Python stub: Python model file not found in '{path}'" in error


def test_no_class_of_the_right_name(http: Client, repository: Path, model_name: str) -> None:
    error = load_error(http, repository, model_name, "class Model:\n    pass\n")
    assert error == "Internal: AttributeError: module '1.model' has no attribute 'TritonPythonModel'"


def test_a_syntax_error(http: Client, repository: Path, model_name: str) -> None:
    error = load_error(http, repository, model_name, "class TritonPythonModel\n    pass\n")
    assert error == "Internal: SyntaxError: expected ':' (model.py, line 1)"


def test_an_unknown_import(http: Client, repository: Path, model_name: str) -> None:
    error = load_error(http, repository, model_name, "x = 1\nimport no_such_module_at_all\n")
    file = repository / model_name / "1" / "model.py"
    first, *frames = error.splitlines()
    assert first == "Internal: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    assert frames[:3] == ["", "At:", f"  {file}(2): <module>"]


@pytest.mark.parametrize("raised", ["ValueError", "SystemExit", "KeyboardInterrupt", "MemoryError"])
@pytest.mark.parametrize("where", ["import", "auto_complete_config", "constructor", "initialize"])
def test_an_exception_while_loading(
    http: Client, repository: Path, model_name: str, where: str, raised: str
) -> None:
    statement = f'raise {raised}("wrong in {where}")'
    phases = {
        "import": f"def helper():\n    {statement}\n\n\nhelper()\n",
        "auto_complete_config": f"""class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        {statement}
""",
        "constructor": f"class TritonPythonModel:\n    def __init__(self):\n        {statement}\n",
        "initialize": f"class TritonPythonModel:\n    def initialize(self, args):\n        {statement}\n",
    }
    file = repository / model_name / "1" / "model.py"
    error = load_error(http, repository, model_name, phases[where])
    frames = {
        "import": [(2, "helper"), (5, "<module>")],
        "auto_complete_config": [(4, "auto_complete_config")],
        "constructor": [(3, "__init__")],
        "initialize": [(3, "initialize")],
    }
    wanted = "".join(f"  {file}({line}): {function}\n" for line, function in frames[where])
    assert error.startswith(f"Internal: {raised}: wrong in {where}\n\nAt:\n{wanted}")


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("auto_complete_config(config)", "Failed to initialize Python stub for auto-complete: "),
        ("initialize(self, args)", "Failed to initialize Python stub: "),
    ],
)
def test_the_log_tells_of_an_exception_while_loading(
    http: Client, server: TritonServer, repository: Path, model_name: str, where: str, told: str
) -> None:
    start = len(server.log())
    static = "    @staticmethod\n" if "config" in where else ""
    code = f"class TritonPythonModel:\n{static}    def {where}:\n        raise ValueError('so')\n"
    load_error(http, repository, model_name, code)
    assert f"{told}ValueError: so" in server.log()[start:]


def test_a_value_of_force_cpu_that_is_neither_yes_nor_no(
    http: Client, repository: Path, model_name: str
) -> None:
    text = config(*TENSORS, more=parameters(FORCE_CPU_ONLY_INPUT_TENSORS="maybe"))
    error = load_error(http, repository, model_name, GOOD, text)
    assert error == "Unsupported: Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: maybe'"


FORCED = "Forcing CPU only input tensors."
NOT_FORCED = "Input tensors can be both in CPU and GPU. FORCE_CPU_ONLY_INPUT_TENSORS is off."


@pytest.mark.parametrize(("value", "told"), [("yes", FORCED), ("no", NOT_FORCED)])
def test_the_log_tells_the_value_of_force_cpu(
    load: Load, server: TritonServer, log_start: int, value: str, told: str
) -> None:
    load(GOOD, config(*TENSORS, more=parameters(FORCE_CPU_ONLY_INPUT_TENSORS=value)))
    wait_until("the line", lambda: told in server.log()[log_start:])


@pytest.mark.parametrize("value", ["yes", "no"])
def test_the_right_values_of_force_cpu_load(load: Load, http: Client, value: str) -> None:
    model = load(GOOD, config(*TENSORS, more=parameters(FORCE_CPU_ONLY_INPUT_TENSORS=value)))
    assert http.infer(model, ONE)["OUT"].tolist() == [1]


def test_a_model_file_that_is_no_python_file(http: Client, repository: Path, model_name: str) -> None:
    write_model(repository, model_name, GOOD, filename="foo.txt", config=None)
    error = load_error(
        http, repository, model_name, None, config(*TENSORS, more='default_model_filename: "foo.txt"')
    )
    assert "Model name must end with '.py'. Model name is \"foo.txt\"." in error


def test_a_broken_configuration(http: Client, repository: Path, model_name: str) -> None:
    write_model(repository, model_name, GOOD, "max_batch_size: many {")
    assert "failed to load" in http.load_error(model_name)
    repair_and_load(http, repository, model_name)


def test_a_configuration_with_an_unknown_data_type(http: Client, repository: Path, model_name: str) -> None:
    write_model(repository, model_name, GOOD, identity_config("FP33"))
    assert model_name in http.load_error(model_name)
    repair_and_load(http, repository, model_name)


def test_a_model_file_that_is_no_text(http: Client, repository: Path, model_name: str) -> None:
    folder = write_model(repository, model_name, GOOD, config(*TENSORS))
    (folder / "1" / "model.py").write_bytes(b"\xff\xfe\x00")
    assert "SyntaxError: " in http.load_error(model_name)
    repair_and_load(http, repository, model_name)


@pytest.mark.newer("25.08", run=False)
def test_a_model_file_that_leads_nowhere(http: Client, repository: Path, model_name: str) -> None:
    folder = write_model(repository, model_name, None, config(*TENSORS))
    (folder / "1" / "model.py").symlink_to("nowhere.py")
    assert "Python model file not found in" in http.load_error(model_name)
    (folder / "1" / "model.py").unlink()
    repair_and_load(http, repository, model_name)


def test_a_model_that_is_not_in_the_repository(http: Client) -> None:
    assert "no_such_model" in http.load_error("no_such_model")


# --- failures of execute ---


def test_no_execute(load: Load, client: Client, repository: Path) -> None:
    model = load("class TritonPythonModel:\n    pass\n", config(*TENSORS))
    path = repository / model / "1" / "model.py"
    text = f"Python model {path} does not implement `execute` method."
    for _ in range(2):
        assert client.error(model, ONE) == failed(model, text)


@pytest.mark.parametrize("raised", ["ValueError", "SystemExit", "KeyboardInterrupt", "StopIteration"])
def test_an_exception_in_execute(load: Load, client: Client, repository: Path, raised: str) -> None:
    model = load(
        f"""
class TritonPythonModel:
    count = 0

    def execute(self, requests):
        self.count += 1
        return self.helper()

    def helper(self):
        raise {raised}(f"wrong with 'quotes' and ümläuts, {{self.count}}")
""",
        config(*TENSORS),
    )
    file = repository / model / "1" / "model.py"
    # The same process raises again: it has not ended.
    for count in (1, 2):
        error = client.failure(model, ONE)
        text = f"{raised}: wrong with 'quotes' and ümläuts, {count}\n\nAt:\n"
        text += f"  {file}(10): helper\n  {file}(7): execute\n"
        assert str(error.message()) == failed(model, text)
        assert error.status() in ("500", "StatusCode.INTERNAL")


RETURNED = {
    "a tuple": (
        "(pb_utils.InferenceResponse([]),)",
        "Expected a list in the execute return, found type '<class 'tuple'>'.",
    ),
    "a response": (
        "pb_utils.InferenceResponse([])",
        "Expected a list in the execute return, found type "
        "'<class 'c_python_backend_utils.InferenceResponse'>'.",
    ),
    "a generator": (
        "(pb_utils.InferenceResponse([]) for _ in requests)",
        "Expected a list in the execute return, found type '<class 'generator'>'.",
    ),
    "an empty list": (
        "[]",
        "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
        "InferenceRequest(s) size is:1, and InferenceResponse(s) size is:0\n",
    ),
    "a list that is too long": (
        "[pb_utils.InferenceResponse([])] * 3",
        "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
        "InferenceRequest(s) size is:1, and InferenceResponse(s) size is:3\n",
    ),
    "a list with a text": (
        "['text']",
        "Expected an 'InferenceResponse' object in the execute function return list, "
        "found type '<class 'str'>'.",
    ),
    "a list with a tensor": (
        "[requests[0].inputs()[0]]",
        "Expected an 'InferenceResponse' object in the execute function return list, "
        "found type '<class 'c_python_backend_utils.Tensor'>'.",
    ),
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.differs("returned-generator")) if what == "a generator" else what
        for what in RETURNED
    ],
)
def test_execute_returns_something_else(load: Load, client: Client, what: str) -> None:
    expression, text = RETURNED[what]
    model = load(EXECUTE + f"        return {expression}\n", config(*TENSORS))
    for _ in range(2):
        assert client.error(model, ONE) == failed(model, text)


@pytest.mark.differs("unanswered", run=False)
@pytest.mark.parametrize("returned", ["None", "[None]"])
def test_a_request_that_the_model_leaves_without_an_answer_gets_an_error(
    load: Load, client: Client, returned: str
) -> None:
    model = load(EXECUTE + f"        return {returned}\n", config(*TENSORS))
    assert "None" in client.error(model, ONE)


def test_outputs_that_cannot_be(load: Load, client: Client) -> None:
    model = load(
        EXECUTE.replace("import triton", "import numpy as np\nimport triton")
        + """        kind = requests[0].inputs()[0].as_numpy()[0]
        if kind == 0:
            return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([1j]))])]
        if kind == 1:
            return [pb_utils.InferenceResponse([pb_utils.Tensor("", np.array([1], np.int32))])]
        if kind == 2:
            return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([1], ">i4"))])]
        if kind == 3:
            return [pb_utils.InferenceResponse([None])]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([1], np.int32))])]
""",
        config(*TENSORS),
    )
    texts = (
        "TritonModelException: NumPy dtype is not supported.",
        "TritonModelException: Tensor name cannot be an empty string.",
        "TritonModelException: NumPy dtype is not supported.",
        "TritonModelException: Output tensor for inference response should not be empty.",
    )
    for kind, text in enumerate(texts):
        error = client.error(model, {"IN": np.array([kind], np.int32)})
        assert error.startswith(failed(model, f"{text}\n\nAt:\n"))
    assert client.infer(model, {"IN": np.array([9], np.int32)})["OUT"].tolist() == [1]


# The statuses of HTTP and gRPC are the server's choice; newer ones have more of HTTP's.
CODES = {
    "UNKNOWN": ("400", "UNKNOWN"),
    "INTERNAL": ("500", "INTERNAL"),
    "NOT_FOUND": ("404", "NOT_FOUND"),
    "INVALID_ARG": ("400", "INVALID_ARGUMENT"),
    "UNAVAILABLE": ("503", "UNAVAILABLE"),
    "UNSUPPORTED": ("501", "UNIMPLEMENTED"),
    "ALREADY_EXISTS": ("400", "ALREADY_EXISTS"),
    "CANCELLED": ("400", "CANCELLED"),
}


def test_the_code_of_an_error_reaches_the_client(load: Load, client: Client) -> None:
    model = load(
        EXECUTE
        + f"""        names = {list(CODES)!r}
        codes = [names[request.inputs()[0].as_numpy()[0]] for request in requests]
        return [
            pb_utils.InferenceResponse(
                error=pb_utils.TritonError(f"it is {{code}}", getattr(pb_utils.TritonError, code))
            )
            for code in codes
        ]
""",
        config(*TENSORS),
    )
    seen = {}
    for number, code in enumerate(CODES):
        error = client.failure(model, {"IN": np.array([number], np.int32)})
        assert error.message() == f"it is {code}"
        seen[code] = error.status()
    if client.protocol == "http":
        newer = {"ALREADY_EXISTS": "409", "CANCELLED": "499", "UNKNOWN": "500"}
        for code, (status, _) in CODES.items():
            assert seen[code] in (status, newer.get(code)), code
    else:
        assert seen == {code: f"StatusCode.{status}" for code, (_, status) in CODES.items()}


def test_an_error_has_code_internal_unless_it_says_otherwise(load: Load, client: Client) -> None:
    model = load(
        EXECUTE
        + """        return [
            pb_utils.InferenceResponse(error=pb_utils.TritonError("no code")) for _ in requests
        ]
""",
        config(*TENSORS),
    )
    error = client.failure(model, ONE)
    assert error.message() == "no code"
    assert error.status() in ("500", "StatusCode.INTERNAL")


def test_an_error_beside_tensors_wins(load: Load, client: Client) -> None:
    model = load(
        EXECUTE
        + """        return [
            pb_utils.InferenceResponse(
                output_tensors=[pb_utils.Tensor("OUT", requests[0].inputs()[0].as_numpy())],
                error=pb_utils.TritonError("the error"),
            )
        ]
""",
        config(*TENSORS),
    )
    assert client.error(model, ONE) == "the error"


def test_a_very_long_error_reaches_the_client(load: Load, http: Client) -> None:
    model = load(EXECUTE + "        raise ValueError('long ' * 100_000)\n", config(*TENSORS))
    assert http.error(model, ONE).count("long ") == 100_000


ENDLESS = EXECUTE + "        return self.execute(requests)\n"


def test_a_recursion_without_end(load: Load, http: Client) -> None:
    model = load(ENDLESS, config(*TENSORS))
    for _ in range(2):
        assert "RecursionError" in http.error(model, ONE)


@pytest.mark.differs("deep-traceback")
def test_a_recursion_without_end_over_grpc(load: Load, server: TritonServer) -> None:
    """Which takes no error of more than some kilobytes."""
    model = load(ENDLESS, config(*TENSORS))
    with Client(server, "grpc") as client:
        for _ in range(2):
            assert "RecursionError" in client.error(model, ONE)


# --- requests that the core refuses ---


def test_requests_that_are_wrong_get_the_cores_texts(load: Load, client: Client) -> None:
    model = load(GOOD, config(*TENSORS, max_batch_size=2))
    assert "batch" in client.error(model, {"IN": np.zeros((3, 1), np.int32)})
    assert "expects INT32" in client.error(model, {"IN": np.zeros((1, 1), np.float32)}).replace("'", "")
    assert "OTHER" in client.error(model, {"OTHER": np.zeros((1, 1), np.int32)})
    assert client.infer(model, {"IN": np.ones((2, 1), np.int32)})["OUT"].tolist() == [[1], [1]]
