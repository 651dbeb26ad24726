"""Tensor: what it accepts, and what it gives back."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest

from triton_python_backend_utils import Tensor, TritonModelException

FIXED_SIZE = {
    np.bool_: 1,
    np.uint8: 2,
    np.uint16: 3,
    np.uint32: 4,
    np.uint64: 5,
    np.int8: 6,
    np.int16: 7,
    np.int32: 8,
    np.int64: 9,
    np.float16: 10,
    np.float32: 11,
    np.float64: 12,
}


BYTES = 13


def refused(text: str) -> Any:
    return pytest.raises(TritonModelException, match=f"^{re.escape(text)}$")


@pytest.mark.parametrize("scalar", FIXED_SIZE)
def test_array_is_kept_and_described(scalar: type) -> None:
    array: np.ndarray[Any, Any] = np.ones((2, 3), dtype=scalar)

    tensor = Tensor("X", array)

    assert tensor.as_numpy() is array
    assert tensor.name() == "X"
    assert tensor.shape() == [2, 3]
    assert tensor.is_cpu() is True


@pytest.mark.parametrize(
    "array",
    [
        np.array([[b"a", "text"], [3, None]], dtype=object),
        np.array([b"a", b"bcd"]),
        np.array(b"scalar", dtype=object),
        np.empty((2, 0), dtype=object),
    ],
    ids=["object", "S", "scalar", "empty"],
)
def test_array_of_strings_is_kept_and_described(array: np.ndarray[Any, Any]) -> None:
    tensor = Tensor("X", array)

    assert tensor.as_numpy() is array
    assert tensor.shape() == list(array.shape)


def test_array_of_objects_is_not_looked_at_until_it_goes_out() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise AssertionError

    array = np.array([Unprintable()], dtype=object)

    assert Tensor("X", array).as_numpy()[0] is array[0]


def test_array_is_released_with_the_tensor() -> None:
    array = np.zeros(4)
    before = sys.getrefcount(array)

    tensor = Tensor("X", array)
    held = sys.getrefcount(array)
    del tensor

    assert held > before
    assert sys.getrefcount(array) == before


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10)[::2],
        np.arange(10)[::-1],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(6).reshape(2, 3).T,
        np.broadcast_to(np.arange(3), (2, 3)),
        np.array([b"a", "b", 3, None], dtype=object)[::2],
        np.array([[b"a", b"b"], [b"c", b"d"]]).T,
    ],
    ids=["strided", "reversed", "fortran", "transposed", "broadcast", "objects", "S"],
)
def test_array_in_another_order_is_copied(array: np.ndarray[Any, Any]) -> None:
    tensor = Tensor("X", array)

    copied = tensor.as_numpy()
    assert copied.flags.c_contiguous
    assert not np.shares_memory(copied, array)
    np.testing.assert_array_equal(copied, array)
    assert tensor.shape() == list(array.shape)
    assert tensor.as_numpy() is copied


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1, 1)])
def test_shape_without_or_with_empty_dimensions_is_kept(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype=np.float32)

    tensor = Tensor("X", array)

    assert tensor.shape() == list(shape)
    assert tensor.as_numpy() is array


def test_shape_is_a_new_list_each_time() -> None:
    tensor = Tensor("X", np.zeros((2, 3)))

    tensor.shape().append(4)

    assert tensor.shape() == [2, 3]


def test_read_only_array_is_kept() -> None:
    array = np.frombuffer(b"1234", dtype=np.uint8)

    assert Tensor("X", array).as_numpy() is array


def test_native_byte_order_may_be_spelt_out() -> None:
    array = np.zeros(2, dtype=np.dtype(np.int32).newbyteorder("<" if sys.byteorder == "little" else ">"))

    assert Tensor("X", array).as_numpy() is array


def test_empty_name_is_refused() -> None:
    with refused("Tensor name cannot be an empty string."):
        Tensor("", np.zeros(1))


def test_name_is_checked_before_the_dtype() -> None:
    with refused("Tensor name cannot be an empty string."):
        Tensor("", np.zeros(1, dtype=np.complex64))


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype(np.int32).newbyteorder(),
        np.dtype(np.float64).newbyteorder(),
        "U3",
        "c8",
        "c16",
        "M8[s]",
        "m8[s]",
    ],
    ids=str,
)
def test_dtype_that_the_server_does_not_have_is_refused(dtype: Any) -> None:
    with refused("NumPy dtype is not supported."):
        Tensor("X", np.zeros(2, dtype=dtype))


def test_structured_array_is_refused() -> None:
    with refused("NumPy dtype is not supported."):
        Tensor("X", np.zeros(2, dtype=[("a", np.int32)]))


@pytest.mark.parametrize("value", [[1, 2], None, 3.0, b"bytes", np.float32(1)])
def test_only_an_array_makes_a_tensor(value: Any) -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        Tensor("X", value)


@pytest.mark.parametrize("name", [None, 1])
def test_name_must_be_text(name: Any) -> None:
    with pytest.raises(TypeError):
        Tensor(name, np.zeros(1))


def test_name_may_be_bytes() -> None:
    assert Tensor("\N{GREEK SMALL LETTER PI}".encode(), np.zeros(1)).name() == "\N{GREEK SMALL LETTER PI}"


def test_arguments_are_positional() -> None:
    with pytest.raises(TypeError):
        Tensor(name="X", numpy_array=np.zeros(1))  # type: ignore[call-arg]


@pytest.mark.parametrize(("dtype", "number"), [*FIXED_SIZE.items(), (object, BYTES), ("S3", BYTES)])
def test_types_have_the_numbers_of_the_server(dtype: Any, number: int) -> None:
    assert Tensor("X", np.zeros(1, dtype)).triton_dtype() == number
