"""A library that stands between the server and a backend: tests/cpp/backend/ready_proxy.cc."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from serving.contender import ROOT, Contender

_FOLDER = Path(os.environ.get("TPB_READY_PROXY_DIR") or ROOT / "build/dev/tests")
_LIBRARY = "libtriton_python.so"


def behind_proxy(contender: Contender, folder: Path) -> Contender:
    """The backend with the proxy in front of its library, in this folder, which is not there yet."""
    proxy = _FOLDER / "ready_proxy.so"
    assert proxy.exists(), f"{proxy} is missing: `make cpp-dev` builds it"
    directory = contender.copy(folder)
    library = directory / "python" / _LIBRARY
    library.rename(library.with_name("libtriton_python_real.so"))
    shutil.copy(proxy, library)
    return replace(contender, directory=directory)
