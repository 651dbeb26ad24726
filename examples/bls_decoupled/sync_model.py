"""Calls a decoupled model, takes its responses one by one, and answers with their sum: n² for n."""

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves as `bls_decoupled_sync`; itself it answers each request once."""

    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        inference_request = pb_utils.InferenceRequest(
            model_name="square_int32",
            requested_output_names=["OUT"],
            inputs=[pb_utils.get_input_tensor_by_name(request, "IN")],
        )
        total = np.zeros(1, np.int32)
        # Each step waits for the next response of the other model; the loop ends with the last one.
        for response in inference_request.exec(decoupled=True):
            if response.has_error():
                return pb_utils.InferenceResponse(error=response.error())
            # The end of a stream may be a response without tensors.
            if response.output_tensors():
                total += pb_utils.get_output_tensor_by_name(response, "OUT").as_numpy()
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("SUM", total)])
