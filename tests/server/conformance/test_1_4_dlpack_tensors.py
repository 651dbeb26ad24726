"""DLPack in a model, BF16, and where tensors lie in memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, identity_config, model_code
from serving.types import Load

SMALL = 10
# Above the size from which arrays of inputs are views on shared memory.
LARGE = 20_001
SIZES = (SMALL, LARGE)
# Little enough to run out when blocks are not given back.
SHARED_MEMORY = 16 << 20

HEAD = """
import ctypes

import numpy as np
import triton_python_backend_utils as pb_utils

pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def answer(**arrays):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in arrays.items()])


def address(capsule):
    # The first member of the structure that a capsule has.
    return ctypes.c_void_p.from_address(pointer_of(capsule, b"dltensor")).value


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0]) for request in requests]
"""


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    # Whose NumPy has from_dlpack.
    return {"settings": {"python-executable": sys.executable, "shm-max-byte-size": str(SHARED_MEMORY)}}


def filled(size: int, number: int) -> np.ndarray:
    return np.full(size, number, np.int32)


# --- BF16 ---


def bfloat16(values: np.ndarray) -> bytes:
    """The upper halves of float32."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()


def numbers(client: Client, model: str, name: str, sent: Any, output: str) -> list[float]:
    tensor = client.tensor_of(name, "BF16", [len(sent)], bfloat16(sent))
    got = client.result(model, {name: tensor}).as_numpy(output)
    # float32 or a type of its own, as the client has it.
    return list(got.astype(np.float32).tolist())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "given",
    [
        'pb_utils.Tensor.from_dlpack("OUT", tensor)',
        'pb_utils.Tensor.from_dlpack("OUT", tensor.to_dlpack())',
    ],
    ids=["producer", "capsule"],
)
def test_bfloat16_goes_in_and_out_by_dlpack(load: Load, client: Client, size: int, given: str) -> None:
    model = load(
        HEAD
        + f"""
    def one(self, tensor):
        assert tensor.is_cpu()
        return pb_utils.InferenceResponse([{given}])
""",
        identity_config("BF16"),
    )
    for number in range(3):
        sent = np.arange(size) % 250 + number  # each of which has a BF16
        assert numbers(client, model, "IN", sent, "OUT") == sent.tolist()


def test_bfloat16_passes_through(load: Load, client: Client) -> None:
    tensors = {"SAME": ("BF16", [-1])}
    model = load(
        HEAD.replace("self.one(request.inputs()[0])", "pb_utils.InferenceResponse(request.inputs())"),
        config(tensors, tensors),
    )
    for size in (0, *SIZES):
        sent = np.arange(size) % 256
        assert numbers(client, model, "SAME", sent, "SAME") == sent.tolist()


def test_bfloat16_has_no_array(load: Load, client: Client) -> None:
    model = load(model_code("identity"), identity_config("BF16"))
    tensor = client.tensor_of("IN", "BF16", [2], bfloat16(np.ones(2)))
    assert (
        "Tensor dtype is BF16 and cannot be converted to NumPy. "
        "Use to_dlpack() and from_dlpack() instead." in client.error(model, {"IN": tensor})
    )


# --- where tensors lie ---


@pytest.mark.differs("array-and-capsule")
@pytest.mark.parametrize("first", ["array", "capsule"])
@pytest.mark.parametrize("size", SIZES)
def test_array_and_capsule_of_an_input_are_the_same_memory(
    load: Load, http: Client, size: int, first: str
) -> None:
    made = ["array = tensor.as_numpy()", "capsule = tensor.to_dlpack()"]
    if first == "capsule":
        made.reverse()
    model = load(
        HEAD
        + f"""
    def one(self, tensor):
        {made[0]}
        {made[1]}
        assert array.ctypes.data == address(capsule)
        assert array.flags.writeable
        other = pb_utils.Tensor.from_dlpack("OUT", capsule)
        array += 1
        other.as_numpy()[0] = -1
        return pb_utils.InferenceResponse([other])
""",
        identity_config("INT32"),
    )
    for number in range(5):
        want = filled(size, number + 1)
        want[0] = -1
        assert np.array_equal(http.infer(model, {"IN": filled(size, number)})["OUT"], want)


@pytest.mark.differs("alignment")
def test_inputs_lie_at_multiples_of_64(load: Load, client: Client) -> None:
    """Arrays of large inputs, and the capsules of all that nobody asked an array of."""
    names = ("I", "IN", "INP", "A_LONG_NAME_OF_AN_INPUT")
    sizes = (1, 7, 63, 16_384, 16_385, 30_001)
    model = load(
        HEAD.replace("self.one(request.inputs()[0])", "self.all(request.inputs())")
        + """
    def all(self, tensors):
        capsules = [address(tensor.to_dlpack()) % 64 for tensor in tensors]
        return answer(ARRAYS=np.array([tensor.as_numpy().ctypes.data % 64 for tensor in tensors]),
                      CAPSULES=np.array(capsules))
""",
        config(
            {name: ("UINT8", [-1]) for name in names},
            {"ARRAYS": ("INT64", [-1]), "CAPSULES": ("INT64", [-1])},
        ),
    )
    for size in sizes:
        got = client.infer(model, {name: np.zeros(size + i, np.uint8) for i, name in enumerate(names)})
        assert got["CAPSULES"].tolist() == [0] * 4
        assert got["ARRAYS"].tolist() == [0] * 4


@pytest.mark.differs("alignment")
def test_arrays_of_large_inputs_lie_at_multiples_of_64(load: Load, client: Client) -> None:
    model = load(
        HEAD
        + """
    def one(self, tensor):
        return answer(OUT=np.array([tensor.as_numpy().ctypes.data % 64], np.int32))
""",
        identity_config("INT32"),
    )
    for size in range(LARGE, LARGE + 40, 3):
        assert client.infer(model, {"IN": filled(size, 1)})["OUT"].tolist() == [0]


# --- memory that outlives its request ---


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kept", "array"),
    [
        ("np.from_dlpack(tensor)", "kept"),
        ("tensor.to_dlpack()", 'pb_utils.Tensor.from_dlpack("X", kept).as_numpy()'),
        ('pb_utils.Tensor.from_dlpack("X", tensor)', "kept.as_numpy()"),
        ('pb_utils.Tensor.from_dlpack("X", tensor).as_numpy()[1:]', "kept"),
    ],
    ids=["array", "capsule", "tensor", "part of an array"],
)
def test_what_a_model_keeps_by_dlpack_stays_as_it_was(
    load: Load, http: Client, size: int, kept: str, array: str
) -> None:
    """The answers are 1 when what was kept 20 requests ago is still what it was."""
    model = load(
        HEAD
        + f"""
    kept = []

    def one(self, tensor):
        number = np.from_dlpack(tensor)[0]
        self.kept.append((number, {kept}))
        right = True
        if len(self.kept) > 20:
            number, kept = self.kept.pop(0)
            right = (({array}) == number).all()
        return answer(OUT=np.array([right], np.int32))
""",
        identity_config("INT32"),
    )
    for number in range(150):
        assert http.infer(model, {"IN": filled(size, number)})["OUT"].tolist() == [1]


def test_memory_of_consumed_inputs_comes_back(load: Load, http: Client) -> None:
    """Together the requests take several times what there is."""
    model = load(
        HEAD
        + """
    def one(self, tensor):
        consumed = np.from_dlpack(tensor)
        unused = tensor.to_dlpack()
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("OUT", tensor)])
""",
        identity_config("INT32"),
    )
    size = SHARED_MEMORY // 16
    for number in range(4 * SHARED_MEMORY // size):
        sent = filled(size // 4, number)
        assert np.array_equal(http.infer(model, {"IN": sent})["OUT"], sent)


# --- arrays of others as outputs ---


@pytest.mark.differs("numpy-dlpack", run=False)
def test_outputs_of_numpy_by_dlpack(load: Load, client: Client) -> None:
    types = {"BOOL": "bool_", "FP16": "float16", "FP64": "float64", "INT8": "int8", "UINT64": "uint64"}
    outputs = ", ".join(
        f'pb_utils.Tensor.from_dlpack("{name}", array.astype(np.{scalar}))' for name, scalar in types.items()
    )
    model = load(
        HEAD
        + f"""
    def one(self, tensor):
        array = tensor.as_numpy().reshape(2, 3)
        return pb_utils.InferenceResponse([{outputs}])
""",
        config({"IN": ("INT32", [6])}, {name: (name, [2, 3]) for name in types}),
    )
    sent = np.arange(6, dtype=np.int32)
    got = client.infer(model, {"IN": sent})
    for name, scalar in types.items():
        want = sent.reshape(2, 3).astype(getattr(np, scalar))
        assert got[name].dtype == want.dtype
        assert got[name].tolist() == want.tolist()


@pytest.mark.differs("numpy-dlpack", run=False)
def test_an_output_by_dlpack_goes_out_as_it_is_when_it_is_returned(load: Load, http: Client) -> None:
    model = load(
        HEAD
        + """
    def initialize(self, args):
        self.array = np.zeros(2, np.int32)
        self.tensor = pb_utils.Tensor.from_dlpack("OUT", self.array)

    def one(self, tensor):
        self.array += 1
        return pb_utils.InferenceResponse([self.tensor])
""",
        identity_config("INT32"),
    )
    for number in range(1, 4):
        assert http.infer(model, {"IN": filled(1, 0)})["OUT"].tolist() == [number] * 2


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        pytest.param(
            'pb_utils.Tensor.from_dlpack("OUT", array[::2])',
            "DLPack tensor is not contiguous.",
            id="strided",
            marks=pytest.mark.differs("strided-dlpack", run=False),
        ),
        pytest.param(
            'capsule = tensor.to_dlpack(); [pb_utils.Tensor.from_dlpack("OUT", capsule) for _ in range(2)]',
            "DLPack capsule has been used already",
            id="used twice",
            marks=pytest.mark.differs("used-capsule", run=False),
        ),
        pytest.param(
            'capsule = array.__dlpack__(); [pb_utils.Tensor.from_dlpack("OUT", capsule) for _ in range(2)]',
            "DLPack capsule has been used already",
            id="used twice, of NumPy",
            marks=pytest.mark.differs("used-capsule", run=False),
        ),
        pytest.param(
            'pb_utils.Tensor.from_dlpack("OUT", None)', "Provided tensor is not supported.", id="no producer"
        ),
    ],
)
def test_a_misuse_is_an_error_and_the_model_lives(
    load: Load, http: Client, statement: str, text: str
) -> None:
    model = load(
        HEAD
        + f"""
    def one(self, tensor):
        array = tensor.as_numpy()
        if array[0] == 0:
            {statement}
        return answer(OUT=array)
""",
        identity_config("INT32"),
    )
    for _ in range(2):
        assert text in http.error(model, {"IN": filled(SMALL, 0)})
        assert http.infer(model, {"IN": filled(SMALL, 1)})["OUT"].tolist() == [1] * SMALL
