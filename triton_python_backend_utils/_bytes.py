"""The encoding of BYTES tensors: every element is a little-endian uint32 length and its payload."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_LENGTH = struct.Struct("<I")


def serialize_byte_tensor(input_tensor: npt.NDArray[Any]) -> bytes | tuple[()] | None:
    """Encode an `object` or `S<n>` array, in C order.

    An element whose type is exactly `bytes` is taken as it is; any other object is encoded as its `str()`,
    so `np.bytes_(b"a")` inside an object array becomes the four characters `b'a'`. An empty array gives an
    empty tuple, an array of any other type None.

    >>> serialize_byte_tensor(np.array([b"ab", 7], dtype=object))
    b'\\x02\\x00\\x00\\x00ab\\x01\\x00\\x00\\x007'
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype.kind not in "OS":
        return None
    parts: list[bytes] = []
    for element in np.asarray(input_tensor).ravel(order="C").tolist():
        payload = element if type(element) is bytes else str(element).encode("utf-8")
        parts.append(_LENGTH.pack(len(payload)))
        parts.append(payload)
    return b"".join(parts)


def deserialize_bytes_tensor(encoded_tensor: Any) -> npt.NDArray[np.object_]:
    """Decode a buffer made by `serialize_byte_tensor` into a 1-D object array of `bytes`.

    Raises:
        ValueError: the buffer ends inside a length or inside an element.

    >>> deserialize_bytes_tensor(b"\\x02\\x00\\x00\\x00ab")
    array([b'ab'], dtype=object)
    """
    elements: list[bytes] = []
    if len(encoded_tensor):
        with memoryview(encoded_tensor) as view, view.cast("B") as data:
            elements = _split(data)
    return np.array(elements, dtype=np.object_)


def _split(data: memoryview) -> list[bytes]:
    elements: list[bytes] = []
    offset = 0
    while offset < len(data):
        payload = offset + _LENGTH.size
        if payload > len(data):
            raise ValueError("Invalid bytes tensor data: incomplete length field")
        offset = payload + _LENGTH.unpack_from(data, payload - _LENGTH.size)[0]
        if offset > len(data):
            raise ValueError("Invalid bytes tensor data: string extends beyond buffer")
        elements.append(bytes(data[payload:offset]))
    return elements
