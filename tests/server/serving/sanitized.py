"""The backend under test with the address and undefined-behaviour sanitizers, in a server without them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from serving.contender import OURS, Contender

# The server loads the library long after its start, so the sanitizer has to be there before. The processes of
# models inherit all this. What they do with signals stays theirs, and a server that crashes says so as ever.
_ASAN = {
    "detect_leaks": 0,
    "verify_asan_link_order": 0,
    "allocator_may_return_null": 1,
    "quarantine_size_mb": 64,
    **dict.fromkeys(("handle_segv", "handle_sigbus", "handle_abort", "handle_sigill", "handle_sigfpe"), 0),
}
_REPORT = re.compile(r"(ERROR: AddressSanitizer|runtime error:).*")


def sanitized(library: Path, backend_dir: Path, folder: Path) -> Contender:
    """A copy of `backend_dir` in `folder` with `library`, and the environment that a server needs for it."""
    place = Contender(OURS, backend_dir).copy(folder / "backends")
    target = place / "python" / "libtriton_python.so"
    target.unlink()
    shutil.copy(library, target)
    linked = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    found = re.search(r"libasan\S* => (\S+)", linked)
    assert found, f"{library} was built without the address sanitizer:\n{linked}"
    options = ":".join(f"{name}={value}" for name, value in _ASAN.items())
    environment = {
        "LD_PRELOAD": found[1],
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    return Contender(OURS, place, environment, is_sanitized=True)


def reports(log: str) -> list[str]:
    """What the sanitizers have said."""
    return [match[0] for match in _REPORT.finditer(log)]
