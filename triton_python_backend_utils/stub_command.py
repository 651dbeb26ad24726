"""The command `triton_python_backend_stub`: a script that, in a model's folder, selects the model's Python.

NVIDIA's backend has a program of this name, which runs the model; people copy one into a model's folder to
choose another Python. Here it is this script, as pip or CMake writes it. The backend recognises it by the
line that imports `main` from this module, takes the Python of its first line, and never runs it.
"""

from __future__ import annotations

import sys

NAME = "triton_python_backend_stub"
# NVIDIA's backend passes nine; a person who is curious passes none, or an option.
ARGUMENTS_OF_A_SERVER = 3


def main() -> int:
    """Says what the script is for; the exit status is 1 when a server has started it, as if it were NVIDIA's.

    Called by the script that pip or CMake writes.
    """
    if len(sys.argv) - 1 >= ARGUMENTS_OF_A_SERVER:
        print(
            f"{NAME}: {sys.argv[0]} is of triton-python-backend and runs no model, but another Python "
            f"backend of Triton has started it (for {sys.argv[1]}). Either make triton-python-backend the "
            "backend of this server (triton-python install DIR, or --backend-directory with what "
            "triton-python backend-dir prints), or replace this file by the stub of that backend.",
            file=sys.stderr,
        )
        return 1
    version = ".".join(map(str, sys.version_info[:3]))
    print(
        f"This script selects a Python for a model of triton-python-backend: {sys.executable or '(unknown)'} "
        f"(Python {version}).\n"
        "\n"
        f"    cp {sys.argv[0]} MODEL_REPOSITORY/MODEL/{NAME}\n"
        "\n"
        "beside config.pbtxt makes that model run in it; nothing is compiled, and its packages are those of\n"
        "this Python. EXECUTION_ENV_PATH in config.pbtxt names a whole environment instead."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
