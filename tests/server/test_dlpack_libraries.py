"""Libraries of arrays that speak DLPack, inside a model: their arrays as outputs, inputs as their arrays.

Where they are not installed they are fetched, each into an environment of its own.
"""

from __future__ import annotations

import numpy as np
import pytest
from serving.client import Client
from serving.libraries import python_with
from serving.repository import identity_config, write_model
from serving.types import StartServer

pytestmark = [pytest.mark.more, pytest.mark.libraries, pytest.mark.timeout(1800)]

MODEL = """
import triton_python_backend_utils as pb_utils
{imports}


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request.inputs()[0]) for request in requests]

    def one(self, tensor):
        array = {from_dlpack}(tensor)
        assert str(array.dtype).endswith({dtype!r}), array.dtype
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("OUT", {result})])
"""
LIBRARIES = {
    "torch": {"imports": "import torch", "from_dlpack": "torch.from_dlpack", "result": "array * 2"},
    "torch by capsules": {
        "imports": "import torch.utils.dlpack as capsules",
        "from_dlpack": "(lambda tensor: capsules.from_dlpack(tensor.to_dlpack()))",
        "result": "capsules.to_dlpack(array * 2)",
    },
    "jax": {
        "imports": "import jax; jax.config.update('jax_enable_x64', True)",
        "from_dlpack": "jax.dlpack.from_dlpack",
        "result": "array * 2",
    },
}
TYPES = {"BF16": "bfloat16", "FP16": "float16", "FP32": "float32", "INT64": "int64", "UINT8": "uint8"}


def payload(data_type: str, values: np.ndarray) -> bytes:
    if data_type == "BF16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype(TYPES[data_type]).tobytes()


@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_travel_both_ways(library: str, start_server: StartServer) -> None:
    server = start_server(settings={"python-executable": str(python_with(library.split()[0]))})
    with Client(server, "grpc") as client:
        for data_type, dtype in TYPES.items():
            write_model(
                server.start.repository,
                data_type,
                MODEL.format(dtype=dtype, **LIBRARIES[library]),
                identity_config(data_type, [-1, -1]),
            )
            client.load(data_type)
            # Below and above the size from which arrays are views on shared memory; each number has a BF16.
            for rows in (1, 5000):
                sent = np.tile(np.arange(10), (rows, 1))
                tensor = client.tensor_of("IN", data_type, sent.shape, payload(data_type, sent))
                result = client.result(data_type, {"IN": tensor})
                assert result.get_response().raw_output_contents[0] == payload(data_type, sent * 2)
                assert list(result.get_output("OUT").shape) == list(sent.shape)
