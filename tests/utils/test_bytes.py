"""The encoding of BYTES tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import triton_python_backend_utils as pb_utils


def objects(*elements: object) -> np.ndarray[Any, Any]:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def test_elements_are_length_and_payload_in_c_order() -> None:
    array = np.asfortranarray(np.array([[b"a", b"bc"], [b"", b"d\0"]], dtype=object))

    encoded = pb_utils.serialize_byte_tensor(array)

    assert encoded == b"\1\0\0\0a" + b"\2\0\0\0bc" + b"\0\0\0\0" + b"\2\0\0\0d\0"


@pytest.mark.parametrize(
    ("element", "payload"),
    [
        ("\N{GREEK SMALL LETTER PI}", b"\xcf\x80"),
        (42, b"42"),
        (None, b"None"),
        (np.bytes_(b"ab"), b"b'ab'"),
        (bytearray(b"ab"), b"bytearray(b'ab')"),
    ],
)
def test_object_that_is_not_exactly_bytes_is_sent_as_its_text(element: object, payload: bytes) -> None:
    encoded = pb_utils.serialize_byte_tensor(objects(element))

    assert encoded == len(payload).to_bytes(4, "little") + payload


def test_fixed_length_bytes_lose_trailing_zeros_only() -> None:
    assert pb_utils.serialize_byte_tensor(np.array([b"a\0b\0"], dtype="S6")) == b"\3\0\0\0a\0b"


def test_scalar_array_is_one_element() -> None:
    assert pb_utils.serialize_byte_tensor(np.array(b"x", dtype=object)) == b"\1\0\0\0x"


@pytest.mark.parametrize("dtype", [object, "S3", np.float32])
def test_empty_array_gives_an_empty_tuple(dtype: Any) -> None:
    assert pb_utils.serialize_byte_tensor(np.empty((2, 0), dtype=dtype)) == ()


@pytest.mark.parametrize("array", [np.zeros(2), np.array(["text"])])
def test_other_types_are_not_encoded(array: np.ndarray[Any, Any]) -> None:
    assert pb_utils.serialize_byte_tensor(array) is None


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_is_decoded_into_a_flat_array_of_bytes(wrap: Any) -> None:
    decoded = pb_utils.deserialize_bytes_tensor(wrap(b"\2\0\0\0a\0" + b"\0\0\0\0"))

    assert decoded.dtype == np.object_
    assert decoded.shape == (2,)
    assert [type(element) for element in decoded] == [bytes, bytes]
    assert decoded.tolist() == [b"a\0", b""]


@pytest.mark.parametrize("nothing", [b"", ()])
def test_nothing_is_decoded_into_an_empty_array(nothing: object) -> None:
    decoded = pb_utils.deserialize_bytes_tensor(nothing)

    assert decoded.shape == (0,)
    assert decoded.dtype == np.object_


@pytest.mark.parametrize("data", [b"\1", b"\0\0\0\0\1\0\0"])
def test_incomplete_length_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^Invalid bytes tensor data: incomplete length field$"):
        pb_utils.deserialize_bytes_tensor(data)


@pytest.mark.parametrize("data", [b"\1\0\0\0", b"\xff\xff\xff\xffabc"])
def test_element_beyond_the_buffer_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^Invalid bytes tensor data: string extends beyond buffer$"):
        pb_utils.deserialize_bytes_tensor(data)
