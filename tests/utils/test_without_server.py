"""What needs a server says so in a Python that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import triton_python_backend_utils as pb_utils
from triton_python_backend_utils import _core as native

NEEDS_A_SERVER: dict[str, Callable[[], Any]] = {
    "MetricFamily": lambda: pb_utils.MetricFamily("a", "b", pb_utils.MetricFamily.COUNTER),
    "load_model": lambda: pb_utils.load_model("m"),
    "unload_model": lambda: pb_utils.unload_model("m"),
    "is_model_ready": lambda: pb_utils.is_model_ready("m"),
    "get_model_dir": lambda: pb_utils.get_model_dir(),
    "free_memory": lambda: native.shared_memory.free_memory(),
}


@pytest.mark.parametrize("name", NEEDS_A_SERVER)
def test_what_needs_a_server_names_itself(name: str) -> None:
    with pytest.raises(pb_utils.TritonModelException, match=rf"^{name} .*in a model that a server runs"):
        NEEDS_A_SERVER[name]()


def test_there_are_no_calls() -> None:
    request = pb_utils.InferenceRequest(inputs=[], requested_output_names=[], model_name="m")

    with pytest.raises(
        pb_utils.TritonModelException, match=r"^BLS is only supported during the 'execute' function\.$"
    ):
        request.exec()
