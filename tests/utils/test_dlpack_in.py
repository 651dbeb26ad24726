"""Arrays of others as our tensors, by DLPack: NumPy's, and those of a producer made of ctypes."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlpack_abi import (
    BFLOAT,
    BOOL,
    COMPLEX,
    CPU,
    CUDA,
    CUDA_HOST,
    DELETER,
    FLOAT,
    INT,
    METAL,
    READ_ONLY,
    TYPES,
    UINT,
    Producer,
    bytes_at,
    capsule_name,
    capsule_new,
    described,
)
from hypothesis import given
from hypothesis import strategies as st

from triton_python_backend_utils import Tensor, TritonModelException

BF16 = 14  # the server's number
NOT_CONTIGUOUS = (
    "DLPack tensor is not contiguous. "
    "Only contiguous DLPack tensors that are stored in C-Order are supported."
)
NO_GPU = (
    "DLPack capsule passed pointer to memory allocated on GPU device,           when GPU is not available"
)

needs_versions = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="this NumPy gives no read-only arrays by DLPack"
)


def refused(text: str) -> Any:
    return pytest.raises(TritonModelException, match=f"^{re.escape(text)}$")


@pytest.mark.parametrize("scalar", TYPES)
def test_array_of_numpy_becomes_a_tensor_of_its_memory(scalar: type) -> None:
    array: np.ndarray[Any, Any] = np.arange(6).reshape(2, 3).astype(scalar)

    tensor = Tensor.from_dlpack("X", array)

    got = tensor.as_numpy()
    assert (tensor.name(), tensor.shape(), tensor.is_cpu()) == ("X", [2, 3], True)
    assert tensor.triton_dtype() == Tensor("Y", array).triton_dtype()
    assert got.dtype == array.dtype
    assert np.array_equal(got, array)
    assert np.shares_memory(got, array)
    assert tensor.as_numpy() is got
    got[0, 0] = 1
    assert array[0, 0] == 1


def test_capsule_may_be_given_itself() -> None:
    array = np.arange(3)

    assert np.shares_memory(Tensor.from_dlpack("X", array.__dlpack__()).as_numpy(), array)


def test_tensor_may_be_made_of_a_tensor() -> None:
    array = np.arange(3)
    first = Tensor("X", array)
    before = sys.getrefcount(first)

    second = Tensor.from_dlpack("Y", first)

    assert sys.getrefcount(first) == before + 1
    assert np.shares_memory(second.as_numpy(), array)
    del second
    assert sys.getrefcount(first) == before


def test_it_is_static() -> None:
    assert Tensor("X", np.zeros(1)).from_dlpack("Y", np.zeros(2)).name() == "Y"


def test_bfloat16_has_a_tensor_and_no_array() -> None:
    producer = Producer(np.array([0x3F80, 0x4000], np.uint16), kind=(BFLOAT, 16))

    tensor = Tensor.from_dlpack("X", producer)

    assert tensor.triton_dtype() == BF16
    with refused(
        "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
    ):
        tensor.as_numpy()
    got = described(capsule := tensor.to_dlpack())
    assert (got.code, got.bits) == (BFLOAT, 16)
    assert got.data == producer.memory.ctypes.data
    del capsule, tensor
    assert producer.deleted == 1


def test_it_ends_once_with_the_last_of_tensor_arrays_and_capsules() -> None:
    producer = Producer(np.arange(6.0))
    tensor = Tensor.from_dlpack("X", producer)
    capsule = tensor.to_dlpack()
    array = tensor.as_numpy()
    part = array[2:4]

    for last in ("tensor", "capsule", "array"):
        assert producer.deleted == 0, last
        if last == "tensor":
            del tensor
        elif last == "capsule":
            del capsule
        else:
            del array
    assert part.tolist() == [2, 3]
    assert producer.deleted == 0
    del part
    assert producer.deleted == 1


def test_tensor_that_nobody_looked_at_ends_too() -> None:
    producer = Producer(np.arange(6.0))

    Tensor.from_dlpack("X", producer)

    assert (producer.asked, producer.deleted) == (1, 1)


def test_producer_without_a_deleter_is_fine() -> None:
    producer = Producer(np.arange(6.0))
    producer.managed.deleter = DELETER()

    assert Tensor.from_dlpack("X", producer).as_numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_it_may_end_while_an_exception_is_on_its_way() -> None:
    producer = Producer(np.arange(6.0))

    with pytest.raises(ZeroDivisionError):
        _ = [Tensor.from_dlpack("X", producer).as_numpy(), 1 // 0]

    assert producer.deleted == 1


def test_forked_child_does_not_end_what_its_parent_borrowed() -> None:
    code = """
        import os, sys
        import numpy as np
        from dlpack_abi import Producer
        from triton_python_backend_utils import Tensor

        producer = Producer(np.arange(6.0))
        tensor = Tensor.from_dlpack("X", producer)
        array = tensor.as_numpy()
        child = os.fork()
        del tensor, array
        if child == 0:
            os._exit(producer.deleted)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), producer.deleted)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.stdout, result.stderr) == ("0 1\n", "")


@pytest.mark.parametrize("consumer", [np.from_dlpack, lambda one: Tensor.from_dlpack("Y", one)])
def test_used_capsule_is_refused(consumer: Any) -> None:
    class Once:
        """NumPy takes no capsule itself."""

        def __dlpack__(self, **options: object) -> Any:
            return capsule

        def __dlpack_device__(self) -> tuple[int, int]:
            return (CPU, 0)

    producer = Producer(np.arange(3))
    capsule = producer.capsule()
    kept = consumer(Once())

    assert capsule_name(capsule) == b"used_dltensor"
    for _ in range(2):
        with pytest.raises(TritonModelException, match=r"^DLPack capsule has been used already"):
            Tensor.from_dlpack("X", capsule)
    assert producer.deleted == 0
    del kept
    assert producer.deleted == 1


def test_our_capsule_can_be_used_once_too() -> None:
    capsule = Tensor("X", np.zeros(3)).to_dlpack()
    Tensor.from_dlpack("Y", capsule)

    with pytest.raises(TritonModelException, match=r"^DLPack capsule has been used already"):
        Tensor.from_dlpack("Y", capsule)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((3,), (1,)),
        ((2, 3), (3, 1)),
        ((2, 3), None),
        ((1, 3), (99, 1)),
        ((3, 1), (1, 99)),
        ((2, 1, 3), (3, -5, 1)),
        ((1,), (0,)),
        ((1, 1), (7, 7)),
        ((0,), (5,)),
        ((2, 0, 3), (1, 1, 1)),
        ((), ()),
    ],
)
def test_contiguous_array_is_taken(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> None:
    memory = np.arange(6, dtype=np.int32)
    count = int(np.prod(shape))

    got = Tensor.from_dlpack("X", Producer(memory, shape=shape, strides=strides)).as_numpy()

    assert got.shape == shape
    assert got.ravel().tolist() == list(range(count))


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((3,), (2,)),
        ((3,), (-1,)),
        ((3,), (0,)),
        ((2, 3), (6, 1)),
        ((2, 3), (1, 2)),
        ((2, 3), (0, 1)),
        ((2, 2, 2), (4, 1, 2)),
        ((2, 1, 3), (4, 1, 1)),
    ],
)
def test_array_with_gaps_or_in_another_order_is_refused(
    shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    producer = Producer(np.arange(12, dtype=np.int32), shape=shape, strides=strides)
    capsule = producer.capsule()

    with refused(NOT_CONTIGUOUS):
        Tensor.from_dlpack("X", capsule)

    assert capsule_name(capsule) == b"dltensor"
    assert producer.deleted == 0


@given(st.data())
def test_contiguity_is_as_numpy_sees_it(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 3), max_size=4).map(tuple))
    strides = data.draw(st.tuples(*[st.integers(0, 9)] * len(shape)))
    memory = np.arange(128, dtype=np.int8)
    expected = np.lib.stride_tricks.as_strided(memory, shape, strides)
    producer = Producer(memory, shape=shape, strides=strides)

    try:
        tensor = Tensor.from_dlpack("X", producer)
    except TritonModelException:
        taken = False
    else:
        taken = True
        assert tensor.as_numpy().tolist() == expected.tolist()

    assert taken == expected.flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [np.arange(10)[::2], np.arange(10)[::-1], np.arange(6).reshape(2, 3).T],
    ids=["strided", "reversed", "transposed"],
)
def test_strided_array_of_numpy_is_refused(array: np.ndarray[Any, Any]) -> None:
    with refused(NOT_CONTIGUOUS):
        Tensor.from_dlpack("X", array)


def test_offset_is_where_the_elements_begin() -> None:
    producer = Producer(np.arange(6, dtype=np.int32), shape=(2,), byte_offset=8)

    assert Tensor.from_dlpack("X", producer).as_numpy().tolist() == [2, 3]
    assert described(Tensor.from_dlpack("X", producer).to_dlpack()).data == producer.memory.ctypes.data + 8


def test_pinned_memory_is_memory_of_the_cpu() -> None:
    tensor = Tensor.from_dlpack("X", Producer(np.arange(3), device=(CUDA_HOST, 1)))

    assert tensor.is_cpu()
    assert tensor.as_numpy().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("device", "text"),
    [(CUDA, NO_GPU), (METAL, "DLDevice type 8 is not support by Python backend.")],
    ids=["CUDA", "Metal"],
)
def test_array_elsewhere_is_refused(device: int, text: str) -> None:
    producer = Producer(np.arange(3), device=(device, 0))

    with refused(text):
        Tensor.from_dlpack("X", producer)
    with refused(text):
        Tensor.from_dlpack("X", producer.capsule())

    assert producer.asked == 0  # its work on the device need not be waited for
    assert producer.deleted == 0


@pytest.mark.parametrize(
    ("kind", "lanes", "text"),
    [
        ((FLOAT, 32), 4, "Dtype is invalid."),
        ((BFLOAT, 16), 2, "Dtype is invalid."),
        ((INT, 32), 0, "Dtype is invalid."),
        ((COMPLEX, 64), 1, "Dtype is invalid."),
        ((FLOAT, 8), 1, "Dtype is invalid."),
        ((INT, 4), 1, "Dtype is invalid."),
        ((UINT, 128), 1, "Dtype is invalid."),
        ((BOOL, 1), 1, "Dtype is invalid."),
        ((3, 64), 1, "Dtype is invalid."),
        ((BFLOAT, 32), 1, "Expected BF16 tensor to have 16 bits, but had: 32"),
    ],
)
def test_type_that_the_server_does_not_have_is_refused(kind: tuple[int, int], lanes: int, text: str) -> None:
    producer = Producer(np.zeros(64, np.uint8), shape=(2,), kind=kind, lanes=lanes)

    with refused(text):
        Tensor.from_dlpack("X", producer)

    assert producer.deleted == 0


@pytest.mark.parametrize("shape", [(-1,), (2, -3), (2**40, 2**40)])
def test_impossible_shape_is_refused(shape: tuple[int, ...]) -> None:
    with refused("DLPack tensor has an impossible shape."):
        Tensor.from_dlpack("X", Producer(np.zeros(4), shape=shape))


def test_elements_without_memory_are_refused() -> None:
    with refused("DLPack tensor has no memory for its shape."):
        Tensor.from_dlpack("X", Producer(np.zeros(4), data=None))


def test_nothing_needs_no_memory() -> None:
    tensor = Tensor.from_dlpack("X", Producer(np.zeros(4), shape=(0, 2), data=None))

    assert tensor.as_numpy().shape == (0, 2)


@pytest.mark.parametrize("producer", [None, 3, [1.0], "text", object()])
def test_what_is_no_producer_is_refused(producer: object) -> None:
    with pytest.raises(
        TritonModelException, match=r"^Provided tensor is not supported\. Tensor must be a DLPack capsule"
    ):
        Tensor.from_dlpack("X", producer)


def test_producer_needs_both_methods_and_has_to_give_a_capsule() -> None:
    class Half:
        def __dlpack__(self, stream: object = None) -> object:
            return None

    class Liar(Half):
        def __dlpack_device__(self) -> tuple[int, int]:
            return (CPU, 0)

    for producer in (Half(), Liar()):
        with pytest.raises(TritonModelException, match=r"^Provided tensor is not supported\."):
            Tensor.from_dlpack("X", producer)


def test_capsule_of_another_kind_is_refused() -> None:
    for name in (b"something else", None):
        with pytest.raises(TritonModelException, match=r"^Provided tensor is not supported\."):
            Tensor.from_dlpack("X", capsule_new(ctypes.addressof(ctypes.c_int64()), name, None))


def test_name_is_checked_before_the_capsule_is_used() -> None:
    capsule = np.zeros(2).__dlpack__()

    with refused("Tensor name cannot be an empty string."):
        Tensor.from_dlpack("", capsule)

    assert capsule_name(capsule) == b"dltensor"


def test_exception_of_a_producer_is_raised() -> None:
    class Broken(Producer):
        def __dlpack__(self, **options: object) -> Any:
            raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        Tensor.from_dlpack("X", Broken(np.zeros(2)))


# --- capsules of DLPack 1 ---


def test_capsule_with_a_version_is_taken() -> None:
    producer = Producer(np.arange(3), version=(1, 7))
    capsule = producer.capsule()

    tensor = Tensor.from_dlpack("X", capsule)

    assert capsule_name(capsule) == b"used_dltensor_versioned"
    assert tensor.as_numpy().tolist() == [0, 1, 2]
    assert tensor.as_numpy().flags.writeable
    with pytest.raises(TritonModelException, match=r"^DLPack capsule has been used already"):
        Tensor.from_dlpack("X", capsule)
    del tensor
    assert producer.deleted == 1


def test_capsule_of_an_unknown_version_is_refused() -> None:
    producer = Producer(np.arange(3), version=(2, 0))

    with refused("DLPack capsule has version 2, the Python backend reads version 1 and earlier."):
        Tensor.from_dlpack("X", producer)

    assert producer.deleted == 0


def test_read_only_memory_stays_read_only() -> None:
    producer = Producer(np.arange(3), version=(1, 0), flags=READ_ONLY)
    tensor = Tensor.from_dlpack("X", producer)
    array = tensor.as_numpy()

    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    assert described(tensor.to_dlpack()).data != producer.memory.ctypes.data


def test_read_only_memory_that_has_no_array_yet_is_given_as_a_copy() -> None:
    producer = Producer(np.arange(3, dtype=np.uint16), kind=(BFLOAT, 16), version=(1, 0), flags=READ_ONLY)

    got = described(capsule := Tensor.from_dlpack("X", producer).to_dlpack())

    assert got.data != producer.memory.ctypes.data
    assert bytes_at(got, 6) == producer.memory.tobytes()
    del capsule


@needs_versions
def test_read_only_array_of_numpy_stays_read_only() -> None:
    array = np.arange(3)
    array.flags.writeable = False

    got = Tensor.from_dlpack("X", array).as_numpy()

    assert np.shares_memory(got, array)
    assert not got.flags.writeable


def test_what_a_producer_without_versions_refuses_is_refused() -> None:
    class Refusing(Producer):
        def __dlpack__(self, stream: object = None) -> Any:  # type: ignore[override]
            raise BufferError("not in this form")

    with pytest.raises(BufferError, match="not in this form"):
        Tensor.from_dlpack("X", Refusing(np.zeros(2)))
