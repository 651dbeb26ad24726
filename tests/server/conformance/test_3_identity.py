"""What goes in comes out: data types, shapes, sizes, numbers of tensors, over HTTP and gRPC."""

from __future__ import annotations

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, identity_config, model_code
from serving.types import Load
from tritonclient.utils import triton_to_np_dtype

IDENTITY = model_code("identity")
FIXED_SIZE_TYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
FIXED_SIZE_TYPES += ("FP16", "FP32", "FP64")


def random_array(data_type: str, shape: tuple[int, ...]) -> np.ndarray:
    """Every bit random; for floats that means NaNs and infinities, too."""
    dtype = np.dtype(triton_to_np_dtype(data_type))
    random = np.random.default_rng(7)
    if dtype == np.bool_:
        return random.integers(0, 2, shape).astype(np.bool_)
    data = random.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8)
    return np.ascontiguousarray(data).view(dtype).reshape(shape)


def assert_same(got: np.ndarray, sent: np.ndarray) -> None:
    """Bit for bit."""
    assert got.dtype == sent.dtype
    assert got.shape == sent.shape
    assert got.tobytes() == sent.tobytes()


@pytest.mark.parametrize("data_type", FIXED_SIZE_TYPES)
def test_every_fixed_size_type_comes_back_bit_for_bit(load: Load, client: Client, data_type: str) -> None:
    model = load(IDENTITY, identity_config(data_type))
    for shape in ((1,), (17,), (20_000,)):
        sent = random_array(data_type, shape)
        assert_same(client.infer(model, {"IN": sent})["OUT"], sent)


@pytest.mark.parametrize("size", [64 * 1024, 1 << 20, 16 << 20], ids=["64KB", "1MB", "16MB"])
def test_a_large_tensor_comes_back_bit_for_bit_each_time(load: Load, client: Client, size: int) -> None:
    model = load(IDENTITY, identity_config("FP32"))
    sent = random_array("FP32", (size // 4,))
    for _ in range(3):
        assert_same(client.infer(model, {"IN": sent})["OUT"], sent)
        sent = np.roll(sent, 1)


def test_sizes_around_the_borders_of_pages_and_of_lazy_arrays_come_back(load: Load, client: Client) -> None:
    model = load(IDENTITY, identity_config("UINT8"))
    for border in (64, 4096, 16384, 65536):
        for size in (border - 1, border, border + 1):
            sent = random_array("UINT8", (size,))
            assert_same(client.infer(model, {"IN": sent})["OUT"], sent)


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (0, 5)], ids=str)
def test_a_tensor_without_elements_keeps_its_shape(
    load: Load, client: Client, shape: tuple[int, ...]
) -> None:
    model = load(IDENTITY, identity_config("INT32", [-1] * len(shape)))
    sent = np.zeros(shape, np.int32)
    assert_same(client.infer(model, {"IN": sent})["OUT"], sent)


def test_a_tensor_without_elements_travels_beside_full_ones(load: Load, client: Client) -> None:
    names = ("IN0", "IN1", "IN2")
    model = load(
        IDENTITY,
        config({name: ("FP32", [-1]) for name in names}, {f"OUT{i}": ("FP32", [-1]) for i in range(3)}),
    )
    sent = {"IN0": random_array("FP32", (5,)), "IN1": np.zeros((0,), np.float32)}
    sent["IN2"] = random_array("FP32", (9_000,))
    got = client.infer(model, sent)
    for i, name in enumerate(names):
        assert_same(got[f"OUT{i}"], sent[name])


def test_a_model_may_have_scalars(load: Load, client: Client) -> None:
    """The configuration has no empty dims; a reshape is its way to say scalar, and the core
    refuses it without a batch dimension."""
    scalar = '[ {{ name: "{}" data_type: TYPE_INT64 dims: [ 1 ] reshape {{ shape: [ ] }} }} ]'
    code = IDENTITY.replace(
        "    def execute(self, requests):",
        "    def execute(self, requests):\n        assert requests[0].inputs()[0].as_numpy().shape == (1,)",
    )
    tensors = f"input {scalar.format('IN')}\noutput {scalar.format('OUT')}"
    model = load(code, config(max_batch_size=8, more=tensors))
    sent = np.array([[-(1 << 62)]])
    assert_same(client.infer(model, {"IN": sent})["OUT"], sent)


def test_many_dimensions_and_many_tensors_come_back(load: Load, client: Client) -> None:
    shapes = [(1,), (2, 3), (4, 1, 5), (1, 2, 3, 4), (2,) * 8, (7_001,)]
    shapes += [(i,) for i in range(1, 30)]
    inputs = {f"IN{i}": ("FP64", [-1] * len(shape)) for i, shape in enumerate(shapes)}
    outputs = {f"OUT{i}": ("FP64", [-1] * len(shape)) for i, shape in enumerate(shapes)}
    model = load(IDENTITY, config(inputs, outputs))
    sent = {f"IN{i}": random_array("FP64", shape) for i, shape in enumerate(shapes)}
    got = client.infer(model, sent)
    assert set(got) == set(outputs)
    for name, array in sent.items():
        assert_same(got["OUT" + name[2:]], array)


def test_tensors_of_several_types_in_one_request_do_not_mix(load: Load, client: Client) -> None:
    inputs = {f"IN_{data_type}": (data_type, [-1, 3]) for data_type in FIXED_SIZE_TYPES}
    outputs = {f"OUT_{data_type}": (data_type, [-1, 3]) for data_type in FIXED_SIZE_TYPES}
    model = load(IDENTITY, config(inputs, outputs))
    sent = {
        f"IN_{data_type}": random_array(data_type, (i + 1, 3)) for i, data_type in enumerate(FIXED_SIZE_TYPES)
    }
    got = client.infer(model, sent)
    for name, array in sent.items():
        assert_same(got["OUT" + name[2:]], array)


def test_an_optional_input_that_is_left_out_is_absent(load: Load, client: Client) -> None:
    tensors = ({"IN0": ("INT32", [-1]), "IN1": ("INT32", [-1])}, {"OUT0": ("INT32", [-1])})
    model = load(
        """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            other = pb_utils.get_input_tensor_by_name(request, "IN1")
            total = pb_utils.get_input_tensor_by_name(request, "IN0").as_numpy().copy()
            total += len(request.inputs()) * 1000 if other is None else other.as_numpy()
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT0", total)]))
        return responses
""",
        config(*tensors, optional=["IN1"]),
    )
    one = np.array([1, 2], np.int32)
    assert client.infer(model, {"IN0": one})["OUT0"].tolist() == [1001, 1002]
    assert client.infer(model, {"IN0": one, "IN1": one * 10})["OUT0"].tolist() == [11, 22]
    assert client.infer(model, {"IN0": one})["OUT0"].tolist() == [1001, 1002]


TWO_OUTPUTS = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            array = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            wanted = request.requested_output_names()
            assert isinstance(wanted, set), type(wanted)
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor("DOUBLE", array * 2),
                        pb_utils.Tensor("SQUARE", array * array),
                        pb_utils.Tensor("WANTED", __import__("numpy").array([len(wanted)])),
                    ]
                )
            )
        return responses
"""
TWO_OUTPUTS_CONFIG = config(
    {"IN": ("INT32", [-1])}, {"DOUBLE": ("INT32", [-1]), "SQUARE": ("INT32", [-1]), "WANTED": ("INT64", [1])}
)


def test_only_the_outputs_that_were_asked_for_are_sent(load: Load, client: Client) -> None:
    model = load(TWO_OUTPUTS, TWO_OUTPUTS_CONFIG)
    sent = {"IN": np.array([3], np.int32)}
    assert {name: array.tolist() for name, array in client.infer(model, sent, ["SQUARE"]).items()} == {
        "SQUARE": [9]
    }
    assert client.infer(model, sent, ["DOUBLE", "WANTED"])["WANTED"].tolist() == [2]


def test_without_a_wish_all_outputs_are_sent(load: Load, client: Client) -> None:
    model = load(TWO_OUTPUTS, TWO_OUTPUTS_CONFIG)
    got = client.infer(model, {"IN": np.array([3], np.int32)})
    assert {name: array.tolist() for name, array in got.items() if name != "WANTED"} == {
        "DOUBLE": [6],
        "SQUARE": [9],
    }


def test_an_output_that_the_model_does_not_give_is_absent(load: Load, client: Client) -> None:
    more = config({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1]), "NEVER": ("INT32", [-1])})
    model = load(IDENTITY, more)
    got = client.infer(model, {"IN": np.array([3], np.int32)})
    assert {name: array.tolist() for name, array in got.items()} == {"OUT": [3]}


def test_a_model_without_inputs_answers(load: Load, client: Client) -> None:
    """All its inputs are optional, and none is sent."""
    code = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        count = [np.array([len(request.inputs())], np.int32) for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", one)]) for one in count]
"""
    tensors = ({"IN": ("INT32", [1])}, {"OUT": ("INT32", [1])})
    model = load(code, config(*tensors, optional=["IN"]))
    assert client.infer(model)["OUT"].tolist() == [0]
    assert client.infer(model, {"IN": np.array([1], np.int32)})["OUT"].tolist() == [1]
