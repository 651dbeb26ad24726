"""Our tensors as arrays of others, by the DLPack protocol."""

from __future__ import annotations

import ctypes
import re
import sys
import threading
from typing import Any

import numpy as np
import pytest
from dlpack_abi import (
    CPU,
    TYPES,
    Managed,
    bytes_at,
    capsule_name,
    capsule_pointer,
    capsule_set_name,
    described,
)

from triton_python_backend_utils import Tensor, TritonModelException

STRINGS = "DLPack does not have support for string tensors."


def refused(text: str) -> Any:
    return pytest.raises(TritonModelException, match=f"^{re.escape(text)}$")


@pytest.mark.parametrize(("scalar", "kind"), TYPES.items())
def test_capsule_describes_the_array(scalar: type, kind: tuple[int, int]) -> None:
    array: np.ndarray[Any, Any] = np.arange(6).reshape(2, 3).astype(scalar)
    capsule = Tensor("X", array).to_dlpack()

    got = described(capsule)

    assert (got.code, got.bits, got.lanes) == (*kind, 1)
    assert got.data == array.ctypes.data
    assert list(got.shape[: got.ndim]) == [2, 3]
    assert not got.strides
    assert got.byte_offset == 0
    assert list(got.device) == [CPU, 0]


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_capsule_of_a_scalar_or_of_nothing(shape: tuple[int, ...]) -> None:
    capsule = Tensor("X", np.ones(shape, np.float32)).to_dlpack()

    got = described(capsule)
    assert list(got.shape[: got.ndim]) == list(shape)
    assert Tensor.from_dlpack("Y", capsule).shape() == list(shape)


def test_device_is_the_cpu() -> None:
    assert Tensor("X", np.zeros(1)).__dlpack_device__() == (CPU, 0)


def test_capsule_holds_one_reference_to_the_tensor() -> None:
    tensor = Tensor("X", np.zeros(4))
    before = sys.getrefcount(tensor)

    capsule = tensor.to_dlpack()
    held = sys.getrefcount(tensor)
    del capsule

    assert held == before + 1
    assert sys.getrefcount(tensor) == before


def test_consumer_keeps_the_tensor_until_it_is_done() -> None:
    array = np.arange(4.0)
    tensor = Tensor("X", array)
    before = sys.getrefcount(tensor)

    consumed = np.from_dlpack(tensor)
    held = sys.getrefcount(tensor)
    array[0] = 7
    seen = consumed[0]
    del consumed

    assert held == before + 1
    assert seen == 7
    assert sys.getrefcount(tensor) == before


def test_consumer_may_be_done_on_any_thread_without_the_gil() -> None:
    array = np.zeros(4)
    before = sys.getrefcount(array)
    capsule = Tensor("X", array).to_dlpack()  # from here on it holds the tensor's only reference
    pointer = capsule_pointer(capsule, b"dltensor")
    # The name must outlive the capsule, which only refers to it.
    used = ctypes.create_string_buffer(b"used_dltensor")
    assert capsule_set_name(capsule, ctypes.cast(used, ctypes.c_char_p)) == 0
    # ctypes lets go of the GIL for the call.
    thread = threading.Thread(target=Managed.from_address(pointer).deleter, args=(pointer,))

    thread.start()
    thread.join()

    assert sys.getrefcount(array) == before
    del capsule
    assert sys.getrefcount(array) == before


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stream": None},
        {"stream": -1},
        {"max_version": (1, 0), "dl_device": (CPU, 0), "copy": None},
        {"max_version": None, "dl_device": None, "copy": False},
    ],
)
def test_options_of_newer_consumers_are_accepted(options: dict[str, Any]) -> None:
    array = np.zeros(4)

    capsule = Tensor("X", array).__dlpack__(**options)

    assert described(capsule).data == array.ctypes.data


def test_stream_may_be_positional_and_nothing_else() -> None:
    tensor = Tensor("X", np.zeros(4))

    assert capsule_name(tensor.__dlpack__(None)) == b"dltensor"
    with pytest.raises(TypeError):
        tensor.__dlpack__(None, (1, 0))  # type: ignore[misc]


def test_copy_is_made_when_it_is_asked_for() -> None:
    array = np.arange(4.0)

    capsule = Tensor("X", array).__dlpack__(copy=True)
    want = array.tobytes()
    array[:] = 0

    got = described(capsule)
    assert got.data % 64 == 0
    assert bytes_at(got, len(want)) == want


def test_read_only_array_is_given_as_a_copy() -> None:
    """A capsule of the first version cannot say that its memory must not be written to."""
    want = [97, 98, 99, 100]
    data = bytes(want)
    tensor = Tensor("X", np.frombuffer(data, np.uint8))

    capsule = tensor.to_dlpack()
    ctypes.memset(described(capsule).data, ord("x"), 4)

    assert list(data) == want
    assert tensor.as_numpy().tolist() == want


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of newer NumPys, for what this test does
def test_array_that_lost_its_order_is_given_as_a_copy() -> None:
    array = np.arange(6, dtype=np.int32)
    tensor = Tensor("X", array)
    array.strides = (0,)

    capsule = tensor.to_dlpack()
    del tensor

    assert bytes_at(described(capsule), 24) == bytes(24)


@pytest.mark.parametrize("array", [np.array([b"a"], object), np.array([b"a"])], ids=["object", "S"])
def test_strings_have_no_capsule(array: np.ndarray[Any, Any]) -> None:
    with refused(STRINGS):
        Tensor("X", array).to_dlpack()
    with refused(STRINGS):
        Tensor("X", array).__dlpack__()
