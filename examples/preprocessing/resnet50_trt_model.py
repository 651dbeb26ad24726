"""In the place of a network that TensorRT would run: scores for a thousand classes, from random weights."""

import numpy as np

import triton_python_backend_utils as pb_utils

PATCH = 16
SIDE = 224 // PATCH
FEATURES = 3 * SIDE * SIDE


class TritonPythonModel:
    """Serves as `resnet50_trt`."""

    def initialize(self, args):
        random = np.random.default_rng(0)
        self.weights = random.standard_normal((FEATURES, 1000), dtype=np.float32)

    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        pictures = pb_utils.get_input_tensor_by_name(request, "input").as_numpy()
        patches = pictures.reshape(-1, 3, SIDE, PATCH, SIDE, PATCH).mean(axis=(3, 5))
        scores = patches.reshape(-1, FEATURES) @ self.weights
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("output", scores)])
