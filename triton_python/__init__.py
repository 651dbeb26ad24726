"""The front of Triton Python Backend: finds a Triton Inference Server and starts it with our Python backend.

The command `triton-python` is made of the same functions. What a model imports is another package,
`triton_python_backend_utils`.
"""

from __future__ import annotations

from importlib.metadata import version

from triton_python._backend_dir import backend_directory
from triton_python._errors import TritonPythonError
from triton_python._server import TritonServer, find_server, locate_server

__all__ = [
    "TritonPythonError",
    "TritonServer",
    "__version__",
    "backend_directory",
    "find_server",
    "locate_server",
]

__version__ = version("triton-python-backend")
