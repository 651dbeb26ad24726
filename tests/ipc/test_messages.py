"""The messages of the protocol: what goes in comes out, and nothing that comes in does harm."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PROPERTY = settings(deadline=None, max_examples=150)

KINDS = ["execute", "load", "reply", "call", "call_answer", "log_line"]
UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.binary(max_size=40)
CODES = st.integers(0, 7)

TENSORS = st.fixed_dictionaries(
    {
        "name": TEXT,
        "dtype": st.integers(1, 14),
        "shape": st.lists(INT64, max_size=6),
        "memory_type": st.integers(0, 2),
        "device_id": INT64,
        "place": st.integers(0, 1),
        "lease": UINT64,
        "offset": UINT64,
        "size": UINT64,
    }
)
PARAMETERS = st.fixed_dictionaries({"name": TEXT, "type": st.integers(0, 3), "bits": UINT64, "text": TEXT})
REQUESTS = st.fixed_dictionaries(
    {
        "id": TEXT,
        "correlation_text": TEXT,
        "correlation_id": UINT64,
        "correlation_is_text": st.booleans(),
        "timeout_us": UINT64,
        "priority": UINT64,
        "response_id": UINT64,
        "flags": UINT32,
        "trace_context": TEXT,
        "requested_outputs": st.lists(TEXT, max_size=3),
        "parameters": st.lists(PARAMETERS, max_size=2),
        "inputs": st.lists(TENSORS, max_size=3),
    }
)
RESPONSES = st.fixed_dictionaries(
    {
        "kind": st.integers(0, 4),
        "code": CODES,
        "text": TEXT,
        "outputs": st.lists(TENSORS, max_size=3),
        "parameters": st.lists(PARAMETERS, max_size=2),
    }
)
LEASES = st.lists(st.tuples(UINT64, UINT64, UINT64), max_size=3)
MESSAGES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "execute": st.fixed_dictionaries(
        {
            "leases": LEASES,
            "requests": st.lists(REQUESTS, max_size=3),
        }
    ),
    "load": st.fixed_dictionaries(
        dict.fromkeys(
            [
                "model_name",
                "model_version",
                "model_repository",
                "model_file",
                "backend_dir",
                "config_json",
                "instance_name",
                "instance_kind",
                "instance_device_id",
            ],
            TEXT,
        )
    ),
    "reply": st.fixed_dictionaries(
        {
            "failed": st.booleans(),
            "code": CODES,
            "text": TEXT,
            "kept": st.lists(UINT64, max_size=4),
            "responses": st.lists(RESPONSES, max_size=3),
            "state_outputs": st.lists(TEXT, max_size=3),
        }
    ),
    "call": st.fixed_dictionaries(
        {
            "model_name": TEXT,
            "model_version": INT64,
            "parent": UINT64,
            "slot": UINT32,
            "flags": UINT32,
            "request": REQUESTS,
        }
    ),
    "call_answer": st.fixed_dictionaries(
        {"leases": LEASES, "responses": st.lists(RESPONSES, max_size=3), "last": st.booleans()}
    ),
    "log_line": st.fixed_dictionaries(
        {"level": st.integers(0, 3), "line": UINT32, "file": TEXT, "text": TEXT}
    ),
}


def encode(ipc: Any, kind: str, message: dict[str, Any]) -> bytes:
    encoded: bytes = getattr(ipc, f"encode_{kind}")(message)
    return encoded


def decode(ipc: Any, kind: str, content: bytes) -> dict[str, Any] | None:
    """The message, or None when the content is refused as none."""
    try:
        message: dict[str, Any] = getattr(ipc, f"decode_{kind}")(content)
    except ipc.ProtocolError:
        return None
    return message


@pytest.mark.parametrize("kind", KINDS)
@PROPERTY
@given(data=st.data())
def test_a_message_comes_back_as_it_was(ipc: Any, kind: str, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[kind])

    content = encode(ipc, kind, message)

    assert len(content) % 8 == 0
    assert decode(ipc, kind, content) == message


@pytest.mark.parametrize("kind", KINDS)
@PROPERTY
@given(data=st.data())
def test_a_message_without_its_end_or_with_more_is_refused(ipc: Any, kind: str, data: st.DataObject) -> None:
    content = encode(ipc, kind, data.draw(MESSAGES[kind]))
    length = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(min_size=1, max_size=16))

    assert decode(ipc, kind, content[:length]) is None
    assert decode(ipc, kind, content + more) is None


@pytest.mark.parametrize("kind", KINDS)
@PROPERTY
@given(data=st.data())
def test_a_damaged_message_is_refused_or_is_another_one(ipc: Any, kind: str, data: st.DataObject) -> None:
    content = bytearray(encode(ipc, kind, data.draw(MESSAGES[kind])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) // 8 - 1)) * 8
        content[at : at + 8] = struct.pack("<Q", data.draw(UINT64))

    message = decode(ipc, kind, bytes(content))

    if message is not None:
        assert decode(ipc, kind, encode(ipc, kind, message)) == message


@pytest.mark.parametrize("kind", KINDS)
@PROPERTY
@given(content=st.one_of(st.binary(max_size=300), st.lists(st.integers(0, 40), max_size=60)))
def test_any_bytes_are_refused_or_a_message(ipc: Any, kind: str, content: bytes | list[int]) -> None:
    if isinstance(content, list):  # small numbers look like counts and lengths
        content = struct.pack(f"<{len(content)}Q", *content)

    message = decode(ipc, kind, content)

    if message is not None:
        assert decode(ipc, kind, encode(ipc, kind, message)) == message


@PROPERTY
@given(dims=st.integers(0, 300))
def test_a_shape_has_at_most_as_many_dimensions_as_both_sides_know(ipc: Any, dims: int) -> None:
    tensor = {
        **{"name": b"T", "dtype": 11, "shape": [1] * dims, "memory_type": 0, "device_id": 0},
        **{"place": 0, "lease": 1, "offset": 0, "size": 4},
    }
    response = {"kind": 1, "code": 0, "text": b"", "outputs": [tensor], "parameters": []}
    reply = {
        "failed": False,
        "code": 0,
        "text": b"",
        "kept": [],
        "responses": [response],
        "state_outputs": [],
    }

    if dims > ipc.MAX_DIMS:
        with pytest.raises(ipc.Error, match=f"tensor 'T' has {dims} dimensions"):
            encode(ipc, "reply", reply)
    else:
        assert decode(ipc, "reply", encode(ipc, "reply", reply)) == reply
