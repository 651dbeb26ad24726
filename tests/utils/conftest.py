"""What these tests share lies beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from triton_python_backend_utils import _bytes, _core

# pytest imports the tests without touching sys.path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["compiled", "python"])
def both_codecs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs once with the functions of `_core` for BYTES tensors and once with their stand-ins."""
    if request.param == "python":
        monkeypatch.setattr(_bytes, "_encode", _bytes._encode_in_python)
        monkeypatch.setattr(_bytes, "_decode", _bytes._decode_in_python)
    else:
        assert _bytes._encode is _core.encode_bytes
        assert _bytes._decode is _core.decode_bytes
