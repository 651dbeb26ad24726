"""Adds and subtracts two vectors: the smallest model that shows each part of the interface."""

import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The class that the server looks for; its name is fixed."""

    def initialize(self, args):
        """Called once, when the model is loaded."""
        config = json.loads(args["model_config"])
        self.sum_dtype = self._numpy_dtype(config, "OUTPUT0")
        self.difference_dtype = self._numpy_dtype(config, "OUTPUT1")

    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        return [self._respond(request) for request in requests]

    def finalize(self):
        """Called once, when the model is unloaded; optional."""
        print("add_sub: unloaded")

    def _respond(self, request):
        left = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        right = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("OUTPUT0", (left + right).astype(self.sum_dtype)),
                pb_utils.Tensor("OUTPUT1", (left - right).astype(self.difference_dtype)),
            ]
        )

    @staticmethod
    def _numpy_dtype(config, output_name):
        output = pb_utils.get_output_config_by_name(config, output_name)
        return pb_utils.triton_string_to_numpy(output["data_type"])
