"""Writes `triton_python_backend_stub`, a script that selects the Python of the model beside it."""

from __future__ import annotations

STUB_SCRIPT = "triton_python_backend_stub"

# Longer lines at the top of a script are cut off by older kernels.
LONGEST_FIRST_LINE = 127
# The second line is the mark by which the backend knows such a script.
BODY = """\
import sys
from triton_python_backend_utils.stub_command import main
if __name__ == "__main__":
    sys.exit(main())
"""


def stub_script(python: str) -> str:
    """The script for the Python at an absolute path, as pip writes console scripts."""
    first = f"#!{python}\n"
    if " " in python or len(first) > LONGEST_FIRST_LINE:
        # For the shell this runs Python, and for Python it is a text that nobody uses.
        first = f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"
    return first + BODY
