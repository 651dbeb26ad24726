"""Passes its inputs on to the model that the request names, and gives that model's outputs back.

Calling other models of the same server from a model is known as business logic scripting (BLS).
"""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves as `bls_sync`."""

    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        model_name = pb_utils.get_input_tensor_by_name(request, "MODEL_NAME").as_numpy()[0]
        inference_request = pb_utils.InferenceRequest(
            model_name=model_name,
            requested_output_names=["OUTPUT0", "OUTPUT1"],
            inputs=[pb_utils.get_input_tensor_by_name(request, name) for name in ("INPUT0", "INPUT1")],
        )
        # Blocks until the other model has answered. What goes wrong there comes back as a response, too.
        inference_response = inference_request.exec()
        if inference_response.has_error():
            return pb_utils.InferenceResponse(error=inference_response.error())
        return pb_utils.InferenceResponse(output_tensors=inference_response.output_tensors())
