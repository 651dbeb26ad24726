"""Which Pythons `_core` can be built for; CMake runs this with the configured Python and reads the JSON.

    python find_pythons.py (auto | own | INTERPRETER...)

`own` is the Python that runs this script; `auto` adds every `python3.N` on PATH and pyenv's versions. Several
candidates of one version follow each other, the best first: CMake takes the first whose headers compile.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

OLDEST = (3, 9)
ANSWER_SECONDS = 60

# Runs in any Python 3, and in Python 2 as well, which may be named by mistake.
QUESTION = """
import json, os, struct, sys, sysconfig
paths = [sysconfig.get_path(name) for name in ("include", "platinclude")]
paths += [sysconfig.get_config_var("INCLUDEPY")]
print(json.dumps({
    "executable": sys.executable,
    "implementation": getattr(getattr(sys, "implementation", None), "name", "cpython"),
    "version": list(sys.version_info[:2]),
    "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
    "include": [path for path in paths if path],
    "multiarch": sysconfig.get_config_var("MULTIARCH") or "",
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "debug": hasattr(sys, "gettotalrefcount"),
    "platform": [sysconfig.get_platform(), struct.calcsize("P")],
}))
"""


class Unusable(Exception):
    """`_core` cannot be built for an interpreter; the text says why, in a few words."""


def ask(interpreter: str) -> dict[str, Any]:
    """What an interpreter says about itself.

    Raises:
        Unusable: it is not a Python, or does not answer.
    """
    # -E, -s: no PYTHONPATH and no user's packages, which a build environment may have set for another Python.
    command = [interpreter, "-E", "-s", "-c", QUESTION]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_SECONDS)
        facts: dict[str, Any] = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unusable(f"{interpreter} does not answer as a Python does") from error
    return facts


def refuse_unusable(facts: dict[str, Any], own: dict[str, Any]) -> None:
    """Raises `Unusable` unless an extension module for that Python can be built with its headers."""
    if facts["implementation"] != "cpython":
        raise Unusable(f"{facts['implementation']}, not CPython")
    if tuple(facts["version"]) < OLDEST:
        raise Unusable("older than 3.9")
    if facts["free_threaded"]:
        raise Unusable("free-threaded")
    if facts["platform"] != own["platform"]:
        raise Unusable(f"built for {facts['platform'][0]}")
    if facts["debug"] and facts["executable"] != own["executable"]:
        raise Unusable("a debug build")
    if not any(Path(folder, "Python.h").is_file() for folder in facts["include"]):
        raise Unusable("no Python.h: its package -dev or -devel brings it")


def candidates_on_this_machine() -> list[str]:
    """Every `python3.N` on PATH, then those of pyenv, newer patch releases first."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    # pyenv's shims answer for a version only if it is chosen at the moment, and are slow to say no.
    folders = [folder for folder in folders if folder != pyenv.parent / "shims"]
    versions = sorted(pyenv.glob("3.*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    folders += [version / "bin" for version in reversed(versions)]
    found: dict[Path, str] = {}  # by what it really is: /bin is often a link to /usr/bin
    for folder in folders:
        for python in sorted(folder.glob("python3.*")):
            if re.fullmatch(r"python3\.\d+", python.name) and os.access(python, os.X_OK):
                found.setdefault(folder.resolve() / python.name, str(python))
    return list(found.values())


def judged(interpreter: str, own: dict[str, Any]) -> tuple[str, dict[str, Any] | None, str]:
    """The version (or the interpreter's name), and its facts or the reason why it is passed over."""
    try:
        facts = ask(interpreter)
    except Unusable as reason:
        return Path(interpreter).name, None, str(reason)
    version = ".".join(map(str, facts["version"]))
    try:
        refuse_unusable(facts, own)
    except Unusable as reason:
        return version, None, str(reason)
    include = [folder for folder in dict.fromkeys(facts["include"]) if Path(folder).is_dir()]
    return version, {**facts, "version": version, "include": include, "configured": False}, ""


def main(wanted: list[str]) -> int:
    own = ask(sys.executable)
    try:
        refuse_unusable(own, own)
    except Unusable as reason:
        print(f"{sys.executable} cannot have a compiled module: {reason}", file=sys.stderr)
        return 1
    named = [] if wanted in (["auto"], ["own"]) else wanted
    interpreters = candidates_on_this_machine() if wanted == ["auto"] else named
    paths = [sys.executable, *(shutil.which(one) or one for one in interpreters)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        verdicts = list(pool.map(lambda path: judged(path, own), paths))
    usable = [facts for _, facts, _ in verdicts if facts is not None]
    usable[0]["configured"] = True
    versions = {facts["version"] for facts in usable}
    refused = {name: reason for name, facts, reason in verdicts if facts is None and name not in versions}
    if named and refused:
        print("; ".join(f"{name}: {reason}" for name, reason in refused.items()), file=sys.stderr)
        return 1
    usable[1:] = [facts for facts in usable[1:] if facts["version"] != usable[0]["version"]]
    # sorted() keeps the order of those of one version.
    usable.sort(key=lambda facts: tuple(map(int, facts["version"].split("."))))
    print(json.dumps({"usable": usable, "passed_over": refused}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
