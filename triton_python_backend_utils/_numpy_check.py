"""Whether the numpy of this Python will do. The launcher loads it before the package, which needs numpy."""

from __future__ import annotations

import re
import sys

OLDEST = (1, 19)


def complaint() -> str | None:
    """What is wrong with the numpy here and how to mend it, or None."""
    fix = f"Install it with: {sys.executable} -m pip install 'numpy>={dotted(OLDEST)}'"
    try:
        import numpy
    except Exception as error:  # a numpy built for another Python or libc raises more than ImportError
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        return f"cannot import numpy: {reason}. {fix}"
    version = tuple(int(part) for part in re.findall(r"\d+", numpy.__version__)[:2])
    if version < OLDEST:
        return f"has numpy {numpy.__version__}, which is too old. {fix}"
    return None


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
