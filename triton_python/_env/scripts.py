"""The console scripts of a packed environment: they start its own Python, wherever it was unpacked."""

from __future__ import annotations

import re
from pathlib import Path

# What a shell runs and Python takes for a string: a first line alone cannot name a program beside itself.
_RELATIVE = """\
#!/bin/sh
'''exec' "$(dirname -- "$(readlink -f -- "$0")")/{python}"{options} "$0" "$@"
' '''
"""
# Written by pip, uv and virtualenv where the path is too long for the kernel, or holds a space.
_POLYGLOT = re.compile(
    rb"""#!/bin/sh\n'''exec' ["']?(?P<program>/[^"'\n]+?)["']?(?P<options>( -\S+)*) "\$0" "\$@"\n' '''\n"""
)
_SHEBANG = re.compile(rb"#![ \t]*(?P<program>/\S+)(?P<options>([ \t]+-\S+)*)[ \t]*\n")
_PYTHON = re.compile(r"python[0-9.]*t?")

ACTIVATE = """\
# For shells: `. bin/activate` in bash or zsh. Servers do not read it, they start bin/python3.
VIRTUAL_ENV="$(cd "$(dirname -- "${BASH_SOURCE:-$0}")/.." && pwd)"
export VIRTUAL_ENV
export PATH="$VIRTUAL_ENV/bin:$PATH"
unset PYTHONHOME
"""


def relocated(script: bytes, folders: list[Path], python: str) -> bytes | None:
    """The script with a beginning that works anywhere; None if it does not start a Python in `folders`."""
    match = _POLYGLOT.match(script) or _SHEBANG.match(script)
    if match is None:
        return None
    program = Path(match["program"].decode("utf-8", "surrogateescape"))
    if program.parent not in folders or not _PYTHON.fullmatch(program.name):
        return None
    options = "".join(f" {option}" for option in match["options"].decode().split())
    return _RELATIVE.format(python=python, options=options).encode() + script[match.end() :]
