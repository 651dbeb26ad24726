"""Runs in the Python that is to run models, and says what it finds: `python -c <this file> PACKAGE_DIR`.

Standard library only, and nothing newer than the oldest Python that may be asked. It says each thing as soon
as it knows it, one marked line of JSON each, for what it tries may end it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from typing import Any

MARK = "triton-python-probe "


def main() -> None:
    # As the backend looks for numpy: not in the working directory.
    sys.path[:] = [folder for folder in sys.path if folder]
    tell(executable=sys.executable, prefix=sys.prefix, version=list(sys.version_info[:3]))
    look_at_numpy()
    core = look_at_core(sys.argv[1])
    if core is not None and "numpy" in sys.modules:
        look_at_tensors(core)


def look_at_numpy() -> None:
    try:
        import numpy
    except BaseException as error:  # a numpy built for another Python or libc raises more than ImportError
        tell(numpy="", numpy_error=first_line(error))
    else:
        tell(numpy=numpy.__version__, numpy_error="")


def look_at_core(package_dir: str) -> Any:
    name = "triton_python_backend_utils._core"
    spec = importlib.machinery.PathFinder.find_spec(name, [package_dir])
    if spec is None or spec.loader is None:
        tell(core="", core_error="there is none for this Python")
        return None
    try:
        core = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(core)
    except BaseException as error:
        tell(core="", core_error=first_line(error))
        return None
    tell(core=str(core.__version__), core_error="")
    return core


def look_at_tensors(core: Any) -> None:
    import numpy

    try:
        array = numpy.arange(4, dtype=numpy.float32)
        right = core.Tensor("x", array).as_numpy().sum() == 6
        tell(tensor_error="" if right else "a tensor has other values than the array that it was made from")
    except BaseException as error:
        tell(tensor_error=first_line(error))


def tell(**found: object) -> None:
    sys.stdout.write("\n" + MARK + json.dumps(found) + "\n")
    sys.stdout.flush()


def first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0].strip() if lines else "") or type(error).__name__


if __name__ == "__main__":
    main()
