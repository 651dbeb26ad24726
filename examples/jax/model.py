"""Adds and subtracts two vectors with a function that JAX compiles."""

import jax
import numpy as np

import triton_python_backend_utils as pb_utils


@jax.jit
def add_sub(left, right):
    return left + right, left - right


class TritonPythonModel:
    """Serves as `jax`."""

    def initialize(self, args):
        """Compiles the function for the shape that config.pbtxt names, so that no request waits for it."""
        zeros = np.zeros(4, np.float32)
        jax.block_until_ready(add_sub(zeros, zeros))

    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        return [self._respond(request) for request in requests]

    @staticmethod
    def _respond(request):
        left = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        right = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
        total, difference = add_sub(left, right)
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("OUTPUT0", np.asarray(total)),
                pb_utils.Tensor("OUTPUT1", np.asarray(difference)),
            ]
        )
