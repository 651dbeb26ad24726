"""A small server and a small distribution of ours, to be installed into it."""

from __future__ import annotations

from pathlib import Path

from triton_python._backend_dir import Installation

SCRATCH = (".python.triton-python",)


def small_installation(folder: Path, text: str = "new") -> Installation:
    """What an installed distribution looks like, with `text` in its files."""
    package = folder / "triton_python_backend_utils"
    (package / "launch").mkdir(parents=True)
    (package / "__init__.py").write_text(f"which = {text!r}\n")
    (package / "launch" / "stub_main.py").write_text("")
    (package / "_core.cpython-3.so").write_text(text)
    library = folder / "libtriton_python.so"
    library.write_text(f"our library, {text}")
    return Installation(library=library, package=package, interpreter=f"/{text}/bin/python")


def small_server(folder: Path, python: bool = True) -> Path:
    """A server's folder, with another python backend or without one."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tritonserver").write_text("")
    (folder / "backends" / "onnxruntime").mkdir(parents=True)
    if python:
        theirs = folder / "backends" / "python"
        theirs.mkdir()
        (theirs / "libtriton_python.so").write_text("their library")
        (theirs / "triton_python_backend_stub").write_text("their stub")
        (theirs / "triton_python_backend_stub").chmod(0o750)
        (theirs / "triton_python_backend_utils.py").write_text("which = 'theirs'\n")
        (theirs / "link").symlink_to("libtriton_python.so")
    return folder


def library_text(server: Path) -> str:
    return (server / "backends" / "python" / "libtriton_python.so").read_text()


def scratch_left(server: Path) -> list[str]:
    """What an interrupted run has left beside the backends."""
    names = [entry.name for entry in (server / "backends").iterdir()]
    return sorted(name for name in names if name.startswith(SCRATCH))
