"""What a `model.py` imports, usually as `pb_utils`: tensors, requests, responses, errors and small helpers.

It is the same inside a server and in plain Python, so a model can be tested without one. Where the compiled
part `_core` was not built for the running Python, only the names written in Python exist.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import TYPE_CHECKING

import numpy as np

from ._bytes import deserialize_bytes_tensor, serialize_byte_tensor
from ._constants import (
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
    TRITONSERVER_REQUEST_RELEASE_ALL,
    TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
    TRITONSERVER_RESPONSE_COMPLETE_FINAL,
)
from ._dtypes import (
    TRITON_STRING_TO_NUMPY,
    numpy_to_triton_type,
    triton_string_to_numpy,
    triton_to_numpy_type,
)
from ._lookup import (
    get_input_config_by_name,
    get_input_tensor_by_name,
    get_output_config_by_name,
    get_output_tensor_by_name,
    using_decoupled_model_transaction_policy,
)
from ._model_config import ModelConfig

# Models reach json, np and struct through this module, so they are part of it.
__all__ = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "InferenceRequest",
    "InferenceResponse",
    "Logger",
    "MetricFamily",
    "ModelConfig",
    "PreferredMemory",
    "Tensor",
    "TritonError",
    "TritonInferenceException",
    "TritonModelException",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "json",
    "load_model",
    "np",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "struct",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "using_decoupled_model_transaction_policy",
]

_NATIVE = (
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "InferenceRequest",
    "InferenceResponse",
    "Logger",
    "MetricFamily",
    "PreferredMemory",
    "Tensor",
    "TritonError",
    "TritonInferenceException",
    "TritonModelException",
    "get_model_dir",
    "is_model_ready",
    "load_model",
    "unload_model",
)

try:
    from ._core import (
        TRITONSERVER_MEMORY_CPU,
        TRITONSERVER_MEMORY_GPU,
        InferenceRequest,
        InferenceResponse,
        Logger,
        MetricFamily,
        PreferredMemory,
        Tensor,
        TritonError,
        TritonInferenceException,
        TritonModelException,
        get_model_dir,
        is_model_ready,
        load_model,
        unload_model,
    )
except ModuleNotFoundError as missing:
    if missing.name != f"{__name__}._core":
        raise
    for _name in _NATIVE:
        __all__.remove(_name)
else:
    # The native classes name this module as theirs; pickle looks for them there, in spawned processes too.
    sys.modules.setdefault("c_python_backend_utils", sys.modules[f"{__name__}._core"])

if TYPE_CHECKING:
    __version__: str
else:  # hidden, because a type checker would take any misspelt name for something found here

    def __getattr__(name: str) -> str:
        if name == "__version__":
            return _version()
        message = f"module '{__name__}' has no attribute '{name}'"
        if name in _NATIVE:
            message += (
                f": its compiled part was not built for this Python ({sys.implementation.cache_tag}). "
                f"Build it once with `triton-python stub build --python {sys.executable}`, or install "
                f"triton-python-backend for it from a checkout, with {sys.executable} -m pip install"
            )
        raise AttributeError(message)


def _version() -> str:
    core = sys.modules.get(f"{__name__}._core")
    if core is not None:
        return str(core.__version__)
    from importlib import metadata  # slow to import, and only this rare case needs it

    try:
        return metadata.version("triton-python-backend")
    except metadata.PackageNotFoundError as missing:
        raise AttributeError(f"module '{__name__}' has no '__version__': it is not installed") from missing
