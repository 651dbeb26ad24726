"""The compiled functions that encode BYTES tensors, and those for a Python without them, do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from triton_python_backend_utils import _bytes, _core


def objects(*elements: object) -> np.ndarray[Any, Any]:
    array = np.empty(len(elements), dtype=object)
    for i, element in enumerate(elements):
        array[i] = element
    return array


ELEMENTS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40),
    st.binary(max_size=9).map(bytearray),
    st.binary(max_size=9).map(np.bytes_),
    st.text(max_size=9).map(np.str_),
    st.integers(),
    st.floats(),
    st.none(),
)


def arrays_of(rows: list[Any], dtype: Any) -> list[np.ndarray[Any, Any]]:
    """The same elements as arrays of several shapes and orders."""
    flat = objects(*rows) if dtype is object else np.array(rows, dtype=dtype)
    square = flat[: len(flat) // 2 * 2].reshape(2, -1)
    return [flat, flat[::2], flat[::-1], square, square.T, np.asfortranarray(square)]


@given(st.lists(ELEMENTS, max_size=30))
def test_compiled_and_python_encode_the_same(elements: list[Any]) -> None:
    for array in arrays_of(elements, object):
        assert _core.encode_bytes(array) == _bytes._encode_in_python(array)


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=30))
def test_compiled_and_python_encode_fixed_lengths_the_same(elements: list[bytes]) -> None:
    for array in arrays_of(elements, "S"):
        assert _core.encode_bytes(array) == _bytes._encode_in_python(array)


SMALL_LENGTHS = st.integers(0, 9).map(lambda length: length.to_bytes(4, "little"))


@given(st.lists(st.one_of(SMALL_LENGTHS, st.binary(max_size=9)), max_size=12).map(b"".join))
def test_compiled_and_python_decode_the_same(data: bytes) -> None:
    def result(decode: Callable[[Any], Any]) -> Any:
        try:
            return decode(data).tolist()
        except ValueError as error:
            return str(error)

    assert result(_core.decode_bytes) == result(_bytes._decode_in_python)
