"""The three spellings of a data type: `TYPE_…` text, the server's number, and the NumPy type."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._text import as_text

# BF16 has no NumPy type, so it is in neither table.
TRITON_STRING_TO_NUMPY: dict[str, Any] = {
    "TYPE_BOOL": bool,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}

_NUMBER_TO_NUMPY: dict[int, Any] = {
    1: np.bool_,
    2: np.uint8,
    3: np.uint16,
    4: np.uint32,
    5: np.uint64,
    6: np.int8,
    7: np.int16,
    8: np.int32,
    9: np.int64,
    10: np.float16,
    11: np.float32,
    12: np.float64,
    13: np.object_,
}

_BYTES_NUMBER = 13
_DTYPE_TO_NUMBER = {np.dtype(scalar): number for number, scalar in _NUMBER_TO_NUMPY.items()}


def triton_string_to_numpy(triton_type_string: str | bytes) -> Any:
    """Return the NumPy type for a `data_type` of a model configuration, such as `"TYPE_FP32"`.

    Raises:
        KeyError: the text is unknown, or it is `TYPE_BF16`, which NumPy does not have.

    >>> triton_string_to_numpy("TYPE_INT8")
    <class 'numpy.int8'>
    """
    return TRITON_STRING_TO_NUMPY[as_text(triton_type_string)]


def triton_to_numpy_type(data_type: int) -> Any:
    """Return the NumPy type for the server's type number, or None for a number without one."""
    return _NUMBER_TO_NUMPY.get(data_type)


def numpy_to_triton_type(data_type: Any) -> int | None:
    """Return the server's type number for a NumPy type or dtype, or None when the server has no such type.

    A dtype of the other byte order has no number: its bytes would arrive swapped.
    """
    if data_type is None:  # np.dtype(None) is float64, which nobody asked for
        return None
    try:
        dtype = np.dtype(data_type)
    except (TypeError, ValueError):
        return None
    return _BYTES_NUMBER if dtype.kind == "S" else _DTYPE_TO_NUMBER.get(dtype)
