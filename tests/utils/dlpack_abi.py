"""The structures of DLPack as ctypes sees them, and a producer that can describe anything."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

CPU, CUDA, CUDA_HOST, METAL = 1, 2, 3, 8
INT, UINT, FLOAT, BFLOAT, COMPLEX, BOOL = 0, 1, 2, 4, 5, 6
READ_ONLY = 1

TYPES = {
    np.bool_: (BOOL, 8),
    np.uint8: (UINT, 8),
    np.uint16: (UINT, 16),
    np.uint32: (UINT, 32),
    np.uint64: (UINT, 64),
    np.int8: (INT, 8),
    np.int16: (INT, 16),
    np.int32: (INT, 32),
    np.int64: (INT, 64),
    np.float16: (FLOAT, 16),
    np.float32: (FLOAT, 32),
    np.float64: (FLOAT, 64),
}


class Array(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = (("array", Array), ("context", ctypes.c_void_p), ("deleter", DELETER))


class ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32 * 2),
        ("context", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("array", Array),
    )


capsule_new = ctypes.pythonapi.PyCapsule_New
capsule_new.restype = ctypes.py_object
capsule_new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
capsule_name = ctypes.pythonapi.PyCapsule_GetName
capsule_name.restype = ctypes.c_char_p
capsule_name.argtypes = (ctypes.py_object,)
capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.restype = ctypes.c_void_p
capsule_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
capsule_set_name = ctypes.pythonapi.PyCapsule_SetName
capsule_set_name.restype = ctypes.c_int
capsule_set_name.argtypes = (ctypes.py_object, ctypes.c_char_p)


class Producer:
    """Gives a capsule of any description of the memory of `memory`, which it owns, and counts its ends."""

    def __init__(
        self,
        memory: np.ndarray[Any, Any],
        *,
        shape: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        kind: tuple[int, int] | None = None,
        lanes: int = 1,
        device: tuple[int, int] = (CPU, 0),
        byte_offset: int = 0,
        data: int | None = -1,
        version: tuple[int, int] | None = None,
        flags: int = 0,
    ) -> None:
        self.memory = memory
        self.deleted = 0
        self.asked = 0
        self.device = device
        shape = memory.shape if shape is None else shape
        self._numbers = [(ctypes.c_int64 * len(numbers))(*numbers) for numbers in (shape, strides or ())]
        pointers = [ctypes.cast(numbers, ctypes.POINTER(ctypes.c_int64)) for numbers in self._numbers]
        code, bits = kind or TYPES[memory.dtype.type]
        array = Array(
            memory.ctypes.data if data == -1 else data,
            device,
            len(shape),
            code,
            bits,
            lanes,
            pointers[0],
            pointers[1] if strides is not None else None,
            byte_offset,
        )
        self.deleter = DELETER(self._end)
        if version is None:
            self.name = b"dltensor"
            self.managed: Any = Managed(array, None, self.deleter)
        else:
            self.name = b"dltensor_versioned"
            self.managed = ManagedVersioned(version, None, self.deleter, flags, array)

    def _end(self, pointer: int) -> None:
        assert pointer == ctypes.addressof(self.managed)
        self.deleted += 1

    def capsule(self) -> Any:
        return capsule_new(ctypes.addressof(self.managed), self.name, None)

    def __dlpack__(self, **options: object) -> Any:
        self.asked += 1
        return self.capsule()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def described(capsule: Any) -> Array:
    return Managed.from_address(capsule_pointer(capsule, b"dltensor")).array


def bytes_at(array: Array, size: int) -> bytes:
    return ctypes.string_at(array.data + array.byte_offset, size)
