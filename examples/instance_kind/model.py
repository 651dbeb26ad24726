"""Scores pictures on the device that the server has chosen for the instance.

The weights are random: what counts here is where they lie, not what they know.
"""

import numpy as np

import triton_python_backend_utils as pb_utils

try:
    import torch
except ModuleNotFoundError:
    torch = None  # numpy will do, on the CPU

PATCH = 16
SIDE = 224 // PATCH
FEATURES = 3 * SIDE * SIDE
HIDDEN = 64
CLASSES = 1000


class TritonPythonModel:
    """Serves as `resnet50`."""

    def initialize(self, args):
        """Puts the weights where `instance_group` in config.pbtxt wants the instance to run."""
        on_gpu = args["model_instance_kind"] == "GPU"
        if on_gpu and torch is None:
            raise pb_utils.TritonModelException(
                f"instance '{args['model_instance_name']}' is for a GPU, which needs torch: install it, "
                "or use KIND_CPU in config.pbtxt"
            )
        self.device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        random = np.random.default_rng(0)
        self.weights = [
            self._to_device(random.standard_normal(shape, dtype=np.float32) / np.float32(shape[0] ** 0.5))
            for shape in ((FEATURES, HIDDEN), (HIDDEN, CLASSES))
        ]
        pb_utils.Logger.log_info(f"{args['model_instance_name']} runs on {self.device}")

    def execute(self, requests):
        """Scores the pictures of all requests at once; each request may bring several."""
        pictures = [pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy() for request in requests]
        scores = self._score(np.concatenate(pictures))
        ends = np.cumsum([len(part) for part in pictures])[:-1]
        return [
            pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT", part)])
            for part in np.split(scores, ends)
        ]

    def _score(self, pictures):
        """From [n, 3, 224, 224] to [n, 1000]; the same lines for numpy and torch."""
        first, second = self.weights
        patches = self._to_device(pictures).reshape(-1, 3, SIDE, PATCH, SIDE, PATCH).mean(axis=(3, 5))
        scores = (patches.reshape(-1, FEATURES) @ first).clip(min=0) @ second
        return scores if torch is None else scores.cpu().numpy()

    def _to_device(self, array):
        return array if torch is None else torch.tensor(array, device=self.device)
