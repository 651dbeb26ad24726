"""Starts the process of a model that asks for an environment: finds or makes it, then becomes its Python.

    <python> -B -I launcher.py <socket fd> <model name> <server pid> <model folder>
        <cache folder> <cache bytes>

The last two may be empty: the defaults. The work is done in `starting.py`; this loads it, and what it
imports, from the folder that this script is in.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

# With -I nothing of ours can be imported by its name, and what can may be another version.
LAUNCH = Path(__file__).parent
NAME = "_triton_python_launch"


def main() -> int:
    spec = importlib.util.spec_from_file_location(
        NAME, LAUNCH / "__init__.py", submodule_search_locations=[str(LAUNCH)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    starting = importlib.import_module(f"{NAME}.starting")
    return int(starting.main(sys.argv))


if __name__ == "__main__":
    sys.exit(main())
