"""The one exception of this package."""

from __future__ import annotations


class TritonPythonError(Exception):
    """Something the user can mend; the message says what was tried, what went wrong and what to do."""
