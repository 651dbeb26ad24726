"""Text arguments: `str`, or `bytes` in UTF-8, as models that read a name out of a BYTES tensor have it."""

from __future__ import annotations


def as_text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
