"""Answers with all the tensors that a request brought, and what else the model saw since the last answer.

ANSWER is JSON: {"inputs": {name: [numpy's name of the type, values]}, "batch": requests of the batch,
"nobody": requests that core made to fill a batch, "correlation_id": ...}.
"""

import json

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    nobody = 0

    def execute(self, requests):
        return [self.tell(request, len(requests)) for request in requests]

    def tell(self, request, batch):
        inputs = {one.name(): one.as_numpy() for one in request.inputs()}
        if "READY" in inputs and not inputs["READY"].ravel()[0]:
            self.nobody += 1
            return pb_utils.InferenceResponse([])
        seen = {
            "inputs": {name: [str(one.dtype), text(one.tolist())] for name, one in inputs.items()},
            "batch": batch,
            "nobody": self.nobody,
            "correlation_id": request.correlation_id(),
            "flags": request.flags(),
        }
        answer = np.array([[json.dumps(seen)]], np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("ANSWER", answer)])


def text(value):
    if isinstance(value, list):
        return [text(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value
