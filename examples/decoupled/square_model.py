"""Answers the number n with n responses, each of which is n: none for 0."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves as `square_int32`."""

    def execute(self, requests):
        """Sends all responses before it returns; repeat_model.py does so afterwards, from threads."""
        for request in requests:
            sender = request.get_response_sender()
            number = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            for _ in range(int(number[0])):
                sender.send(pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUT", number)]))
            # Says that there are no more responses. The request is open until then.
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
