"""The helpers that translate between the server's data types and NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

import triton_python_backend_utils as pb_utils

NUMBERS = {
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
    np.object_: 13,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("TYPE_BOOL", bool), ("TYPE_STRING", np.object_), ("TYPE_FP16", np.float16), ("TYPE_INT64", np.int64)],
)
def test_config_type_becomes_a_numpy_type(text: str, expected: type) -> None:
    assert pb_utils.triton_string_to_numpy(text) is expected


@pytest.mark.parametrize("text", ["TYPE_BF16", "TYPE_INVALID", "FP32", ""])
def test_config_type_without_a_numpy_type_is_a_key_error(text: str) -> None:
    with pytest.raises(KeyError):
        pb_utils.triton_string_to_numpy(text)


@pytest.mark.parametrize(("scalar", "number"), NUMBERS.items())
def test_numbers_and_numpy_types_are_inverse(scalar: type, number: int) -> None:
    assert pb_utils.triton_to_numpy_type(number) is scalar
    assert pb_utils.numpy_to_triton_type(scalar) == number
    assert pb_utils.numpy_to_triton_type(np.dtype(scalar)) == number


def test_the_table_of_config_types_is_public() -> None:
    assert len(pb_utils.TRITON_STRING_TO_NUMPY) == 13
    assert pb_utils.TRITON_STRING_TO_NUMPY["TYPE_UINT8"] is np.uint8


@pytest.mark.parametrize("number", [0, 14, -1])
def test_unknown_number_has_no_numpy_type(number: int) -> None:
    assert pb_utils.triton_to_numpy_type(number) is None


def test_fixed_length_bytes_are_bytes() -> None:
    assert pb_utils.numpy_to_triton_type(np.bytes_) == 13


def test_fixed_length_bytes_of_a_length_are_bytes() -> None:
    assert pb_utils.numpy_to_triton_type(np.dtype("S5")) == 13


@pytest.mark.parametrize("dtype", [None, np.str_, np.complex64, "M8[s]", ">i4", "no type", object()])
def test_other_dtypes_have_no_number(dtype: object) -> None:
    assert pb_utils.numpy_to_triton_type(dtype) is None
