"""When a model finds the names of `triton_python_backend_utils`; tests/utils/test_names.py says which."""

from __future__ import annotations

import numpy as np
import pytest
from serving.client import Client
from serving.repository import identity_config
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.types import Load

ANSWER = """

class TritonPythonModel:
    def execute(self, requests):
        return [InferenceResponse([Tensor("OUT", one.inputs()[0].as_numpy())]) for one in requests]
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import triton_python_backend_utils as pb_utils",
        pytest.param(
            "from triton_python_backend_utils import InferenceResponse, Tensor",
            marks=pytest.mark.differs("names-at-import"),
        ),
        pytest.param(
            "from triton_python_backend_utils import *", marks=pytest.mark.differs("names-at-import")
        ),
        "from c_python_backend_utils import InferenceResponse, Tensor",
    ],
    ids=["the module", "names", "all names", "names of the native module"],
)
def test_ways_to_import_them(load: Load, client: Client, imports: str) -> None:
    code = imports + ANSWER
    if "as pb_utils" in imports:
        code = code.replace("Infer", "pb_utils.Infer").replace("Tensor(", "pb_utils.Tensor(")
    model = load(code, identity_config("INT32"))
    assert client.infer(model, {"IN": np.array([5], np.int32)})["OUT"].tolist() == [5]


@pytest.mark.parametrize(
    "takes",
    [
        "pb_utils.Tensor(text, np.zeros(1)).name()",
        "pb_utils.TritonError(text).message()",
        "pb_utils.Logger.log_info(text) or 'text'",
    ],
    ids=["Tensor", "TritonError", "Logger"],
)
def test_a_text_may_be_a_bytearray(load: Load, http: Client, takes: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"import numpy as np\ntext = bytearray(b'text')\nanswer = {takes}"
    assert do(http, model, script) == "text"
