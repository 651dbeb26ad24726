"""The encoding of BYTES tensors: every element is a little-endian uint32 length and its payload."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_LENGTH = struct.Struct("<I")
_LONGEST = 2**32 - 1


def serialize_byte_tensor(input_tensor: npt.NDArray[Any]) -> bytes | tuple[()] | None:
    """Encode an `object` or `S<n>` array, in C order.

    An element that is `bytes`, of any subclass, or a `bytearray` is taken as it is; any other object is
    encoded as its `str()` in UTF-8. An empty array gives an empty tuple, an array of any other type None.

    Raises:
        ValueError: an element has 4 GiB or more.

    >>> serialize_byte_tensor(np.array([b"ab", 7], dtype=object))
    b'\\x02\\x00\\x00\\x00ab\\x01\\x00\\x00\\x007'
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype.kind not in "OS":
        return None
    return _encode(np.asarray(input_tensor))


def deserialize_bytes_tensor(encoded_tensor: Any) -> npt.NDArray[np.object_]:
    """Decode a buffer made by `serialize_byte_tensor` into a 1-D object array of `bytes`.

    Raises:
        ValueError: the buffer ends inside a length or inside an element.

    >>> deserialize_bytes_tensor(b"\\x02\\x00\\x00\\x00ab")
    array([b'ab'], dtype=object)
    """
    return _decode(encoded_tensor if len(encoded_tensor) else b"")


def _encode_in_python(array: npt.NDArray[Any]) -> bytes:
    parts: list[bytes | bytearray] = []
    for element in array.ravel(order="C").tolist():
        raw = isinstance(element, (bytes, bytearray))
        payload: bytes | bytearray = element if raw else str(element).encode("utf-8")
        if len(payload) > _LONGEST:
            raise ValueError(
                f"An element of a BYTES tensor has {len(payload)} bytes, it can have {_LONGEST} at most: "
                "split it, or send it as a UINT8 tensor."
            )
        parts.append(_LENGTH.pack(len(payload)))
        parts.append(payload)
    return b"".join(parts)


def _decode_in_python(encoded: Any) -> npt.NDArray[np.object_]:
    elements: list[bytes] = []
    with memoryview(encoded) as view, view.cast("B") as data:
        offset = 0
        while offset < len(data):
            payload = offset + _LENGTH.size
            if payload > len(data):
                raise ValueError("Invalid bytes tensor data: incomplete length field")
            offset = payload + _LENGTH.unpack_from(data, payload - _LENGTH.size)[0]
            if offset > len(data):
                raise ValueError("Invalid bytes tensor data: string extends beyond buffer")
            elements.append(bytes(data[payload:offset]))
    return np.array(elements, dtype=np.object_)


try:
    from ._core import decode_bytes as _decode
    from ._core import encode_bytes as _encode
except ModuleNotFoundError:  # not built for this Python; the package says so where it matters
    _decode = _decode_in_python
    _encode = _encode_in_python
