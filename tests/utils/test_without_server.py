"""What needs a server says so in a Python that has none; what does not works."""

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


def test_kinds_of_metrics_have_the_numbers_of_the_server() -> None:
    family = pb_utils.MetricFamily

    assert [int(kind) for kind in (family.COUNTER, family.GAUGE, family.HISTOGRAM)] == [0, 1, 2]
    assert native.MetricKind.GAUGE == native.GAUGE == family.GAUGE


def test_memory_that_a_model_prefers_has_one_of_two_types() -> None:
    assert (int(pb_utils.TRITONSERVER_MEMORY_GPU), int(pb_utils.TRITONSERVER_MEMORY_CPU)) == (0, 1)
    assert native.MemoryType.TRITONSERVER_MEMORY_CPU == pb_utils.TRITONSERVER_MEMORY_CPU
    pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_GPU)
    pb_utils.PreferredMemory(preferred_memory_type=pb_utils.TRITONSERVER_MEMORY_CPU, preferred_device_id=1)
    with pytest.raises(TypeError):
        pb_utils.PreferredMemory(1)  # type: ignore[arg-type]
