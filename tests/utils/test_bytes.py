"""The encoding of BYTES tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import triton_python_backend_utils as pb_utils

pytestmark = pytest.mark.usefixtures("both_codecs")

PI = "\N{GREEK SMALL LETTER PI}"


def objects(*elements: object) -> np.ndarray[Any, Any]:
    array = np.empty(len(elements), dtype=object)
    for i, element in enumerate(elements):
        array[i] = element
    return array


def encoded(*payloads: bytes) -> bytes:
    return b"".join(len(payload).to_bytes(4, "little") + payload for payload in payloads)


class LoudBytes(bytes):
    def __str__(self) -> str:
        return "loud"


class LoudText(str):
    def __str__(self) -> str:
        return "loud"


def test_elements_are_length_and_payload_in_c_order() -> None:
    array = np.asfortranarray(np.array([[b"a", b"bc"], [b"", b"d\0"]], dtype=object))

    assert pb_utils.serialize_byte_tensor(array) == encoded(b"a", b"bc", b"", b"d\0")


@pytest.mark.parametrize("element", [b"a\0b\0", b"\xff\xfe", b""])
def test_bytes_are_taken_as_they_are(element: bytes) -> None:
    assert pb_utils.serialize_byte_tensor(objects(element)) == encoded(element)


@pytest.mark.parametrize(
    ("element", "payload"),
    [
        (np.bytes_(b"ab"), b"ab"),
        (LoudBytes(b"ab"), b"ab"),
        (bytearray(b"a\0b"), b"a\0b"),
        (bytearray(), b""),
    ],
)
def test_bytes_of_other_kinds_are_taken_as_they_are(element: object, payload: bytes) -> None:
    assert pb_utils.serialize_byte_tensor(objects(element)) == encoded(payload)


@pytest.mark.parametrize(
    ("element", "payload"),
    [
        ("text", b"text"),
        (PI, PI.encode()),
        ("\N{GRINNING FACE}\0", "\N{GRINNING FACE}\0".encode()),
        ("", b""),
        (np.str_(PI), PI.encode()),
        (LoudText("quiet"), b"loud"),
        (42, b"42"),
        (-1.5, b"-1.5"),
        (np.float32(0.5), b"0.5"),
        (None, b"None"),
        (True, b"True"),
        ((1, b"a"), b"(1, b'a')"),
    ],
)
def test_any_other_object_is_sent_as_its_text(element: object, payload: bytes) -> None:
    assert pb_utils.serialize_byte_tensor(objects(b"before", element, b"after")) == encoded(
        b"before", payload, b"after"
    )


def test_elements_that_were_never_set_are_none() -> None:
    assert pb_utils.serialize_byte_tensor(np.empty(2, dtype=object)) == encoded(b"None", b"None")


def test_fixed_length_bytes_lose_trailing_zeros_only() -> None:
    array = np.array([[b"a\0b\0", b""], [b"\0\0c", b"123456"]], dtype="S6")

    assert pb_utils.serialize_byte_tensor(array.T) == encoded(b"a\0b", b"\0\0c", b"", b"123456")


def test_scalar_array_is_one_element() -> None:
    assert pb_utils.serialize_byte_tensor(np.array(b"x", dtype=object)) == encoded(b"x")


def test_array_in_the_middle_of_a_record_is_encoded() -> None:
    records = np.zeros(3, dtype=[("before", "u1"), ("text", object)])
    records["text"] = [b"a", "b", 3]

    assert pb_utils.serialize_byte_tensor(records["text"]) == encoded(b"a", b"b", b"3")
    assert pb_utils.serialize_byte_tensor(records["text"][1:2]) == encoded(b"b")


@pytest.mark.parametrize("dtype", [object, "S3", np.float32])
def test_empty_array_gives_an_empty_tuple(dtype: Any) -> None:
    assert pb_utils.serialize_byte_tensor(np.empty((2, 0), dtype=dtype)) == ()


@pytest.mark.parametrize("array", [np.zeros(2), np.array(["text"])])
def test_other_types_are_not_encoded(array: np.ndarray[Any, Any]) -> None:
    assert pb_utils.serialize_byte_tensor(array) is None


def test_element_of_four_gib_is_refused() -> None:
    array = objects(bytes(2**32))  # of zero pages, which take no memory

    with pytest.raises(ValueError, match=r"^An element of a BYTES tensor has 4294967296 bytes, .* UINT8"):
        pb_utils.serialize_byte_tensor(array)


@pytest.mark.parametrize("element", ["\ud800", type("Bad", (), {"__str__": lambda self: "\udfff"})()])
def test_text_that_has_no_utf_8_is_refused(element: object) -> None:
    with pytest.raises(UnicodeEncodeError):
        pb_utils.serialize_byte_tensor(objects(b"a", element))


def test_exception_of_an_element_is_raised() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise LookupError("no text")

    with pytest.raises(LookupError, match="no text"):
        pb_utils.serialize_byte_tensor(objects(b"a", Unprintable(), b"b"))


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.fill(b"changed"),
        lambda array: array.resize((0,), refcheck=False),
        lambda array: array.resize((10_000,), refcheck=False),
    ],
    ids=["filled", "shortened", "grown"],
)
def test_array_that_an_element_changes_goes_out_as_it_was(
    change: Callable[[np.ndarray[Any, Any]], None],
) -> None:
    class Changer:
        def __str__(self) -> str:
            change(array)
            return "changer"

    # Each element after the first is held by nothing but the array.
    array = objects(b"first", Changer(), *(f"element {i}".encode() for i in range(2, 50)))

    assert pb_utils.serialize_byte_tensor(array) == encoded(
        b"first", b"changer", *(f"element {i}".encode() for i in range(2, 50))
    )


def test_encoding_leaves_no_references() -> None:
    elements = [b"held bytes", "held text", LoudText("x"), bytearray(b"held"), object()]
    array = objects(*elements)
    before = [sys.getrefcount(element) for element in elements]

    pb_utils.serialize_byte_tensor(array)

    assert [sys.getrefcount(element) for element in elements] == before


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_is_decoded_into_a_flat_array_of_bytes(wrap: Any) -> None:
    decoded = pb_utils.deserialize_bytes_tensor(wrap(encoded(b"a\0", b"", b"\xff")))

    assert decoded.dtype == np.object_
    assert decoded.shape == (3,)
    assert [type(element) for element in decoded] == [bytes] * 3
    assert decoded.tolist() == [b"a\0", b"", b"\xff"]


def test_decoded_array_owns_its_elements() -> None:
    data = bytearray(encoded(b"abc"))
    decoded = pb_utils.deserialize_bytes_tensor(data)

    data[4:] = b"xyz"  # also: nobody holds the buffer any more, so it may change
    data.clear()
    (element,) = decoded

    assert element == b"abc"
    decoded[0] = "other"
    assert decoded.tolist() == ["other"]


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


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_what_was_encoded_is_decoded_again(elements: list[bytes]) -> None:
    data = pb_utils.serialize_byte_tensor(objects(*elements))

    assert pb_utils.deserialize_bytes_tensor(data).tolist() == elements
