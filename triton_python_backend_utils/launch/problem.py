"""What goes wrong with a model's environment, in words for whoever reads why the model did not load."""

from __future__ import annotations


class EnvironmentProblem(Exception):
    """An environment that cannot run the model; the message names the file, what is wrong, and the fix.

    It does not name the model: the caller does.
    """


def reason_of(error: BaseException) -> str:
    """An exception's own words, in one line; its class where it has none."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text.strip().partition("\n")[0].rstrip(".") or type(error).__name__


def size_text(size: float) -> str:
    """A number of bytes as people read it: 3 bytes, 4.1 MB."""
    if size < 1000:
        return f"{size:.0f} byte{'' if size == 1 else 's'}"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
