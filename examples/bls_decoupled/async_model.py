"""As sync_model.py, with the streams of all requests of a batch under way at once."""

import asyncio

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves as `bls_decoupled_async`; itself it answers each request once."""

    async def execute(self, requests):
        """Called with one or more requests, whose calls are all under way together."""
        return await asyncio.gather(*(self._respond(request) for request in requests))

    async def _respond(self, request):
        inference_request = pb_utils.InferenceRequest(
            model_name="square_int32",
            requested_output_names=["OUT"],
            inputs=[pb_utils.get_input_tensor_by_name(request, "IN")],
        )
        # Ready with the first response. No thread waits for that.
        responses = await inference_request.async_exec(decoupled=True)
        # Taking them waits for each, so that is left to a thread, and the loop goes on with other requests.
        return await asyncio.to_thread(self._sum, responses)

    @staticmethod
    def _sum(responses):
        total = np.zeros(1, np.int32)
        for response in responses:
            if response.has_error():
                return pb_utils.InferenceResponse(error=response.error())
            # The end of a stream may be a response without tensors.
            if response.output_tensors():
                total += pb_utils.get_output_tensor_by_name(response, "OUT").as_numpy()
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("SUM", total)])
