"""Asks two models at once, without a thread for either, and gives an output of each.

`execute` may be a coroutine: it awaits the calls, and what it returns is as ever one response per request.
"""

import asyncio

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves as `bls_async`."""

    async def execute(self, requests):
        """Called with one or more requests, whose calls are all under way together."""
        return await asyncio.gather(*(self._respond(request) for request in requests))

    async def _respond(self, request):
        inputs = [pb_utils.get_input_tensor_by_name(request, name) for name in ("INPUT0", "INPUT1")]
        # The sum is taken from one model and the difference from the other.
        responses = await asyncio.gather(
            self._call("pytorch", inputs, "OUTPUT0"), self._call("add_sub", inputs, "OUTPUT1")
        )
        for response in responses:
            # What goes wrong in a call comes back as a response, too.
            if response.has_error():
                return pb_utils.InferenceResponse(error=response.error())
        return pb_utils.InferenceResponse(
            output_tensors=[tensor for response in responses for tensor in response.output_tensors()]
        )

    @staticmethod
    def _call(model_name, inputs, output_name):
        """A future of the response: the call is made now, the answer can be awaited."""
        return pb_utils.InferenceRequest(
            model_name=model_name, requested_output_names=[output_name], inputs=inputs
        ).async_exec()
