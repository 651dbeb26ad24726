"""Adds the bytecode of every module: processes of models write none, and each would compile anew."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from triton_python._env.facts import clean_environ
from triton_python._env.tree import File, Tree
from triton_python._errors import TritonPythonError
from triton_python._progress import Progress

SCRIPT = Path(__file__).with_name("bytecode_script.py")


def add_bytecode(tree: Tree, python: Path, scratch: Path) -> None:
    """Adds what `python`, the interpreter that is packed, makes of the modules in `tree`.

    Args:
        scratch: an empty folder, where the files are made.

    Raises:
        TritonPythonError: that Python ended before it was done.
    """
    modules = [
        (place, entry)
        for place, entry in tree.ordered()
        if isinstance(entry, File) and place.endswith(".py") and place.startswith("lib")
    ]
    requests = scratch / "requests"
    requests.write_text("".join(f"{json.dumps([str(entry.source), place])}\n" for place, entry in modules))
    made = scratch / "made"
    made.mkdir()
    total, done = sum(entry.size for _, entry in modules), 0
    command: list[str | Path] = [python, "-I", "-S", "-B", SCRIPT, made]
    environ = {**clean_environ(), "PYTHONHASHSEED": "0"}
    with (
        Progress("compiling modules") as progress,
        requests.open() as lines,
        (scratch / "said").open("w+") as said,
    ):
        process = subprocess.Popen(
            command, stdin=lines, stdout=subprocess.PIPE, stderr=said, env=environ, text=True
        )
        with process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    done += int(line)
                    progress.update(done, total)
            except BaseException:
                process.kill()
                raise
        said.seek(0)
        words = said.read().strip().splitlines() or ["it said nothing"]
    if process.returncode != 0:
        raise TritonPythonError(
            f"{python} could not compile the modules of its environment ({words[-1]}): pack it with "
            "--no-bytecode"
        )
    times = {Path(place): entry.mtime for place, entry in modules}
    for file in sorted(made.rglob("*.pyc")):
        place = file.relative_to(made)
        source = place.parent.parent / f"{place.name.split('.')[0]}.py"
        # A module's own name may hold a dot; nobody imports it.
        tree.entries[place.as_posix()] = File.of(file, mtime=times.get(source, 0), executable=False)
