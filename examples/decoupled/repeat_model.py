"""Sends each element of its input back in its own response, from a thread, after `execute` has returned."""

import json
import threading
import time

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves as `repeat_int32`."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        if not pb_utils.using_decoupled_model_transaction_policy(config):
            raise pb_utils.TritonModelException(
                f"model '{args['model_name']}' sends any number of responses: its config.pbtxt needs "
                "model_transaction_policy { decoupled: true }"
            )
        self.threads = []

    def execute(self, requests):
        """Starts a thread for each request and returns nothing: all responses go through senders."""
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        for request in requests:
            thread = threading.Thread(target=self._answer, args=[request])
            thread.start()
            self.threads.append(thread)
        # The next requests come when this returns, whatever the threads are doing.
        time.sleep(max(milliseconds(request, "WAIT")[0] for request in requests) / 1000)

    def finalize(self):
        """The server waits for open requests before it calls this; the threads are at their ends."""
        for thread in self.threads:
            thread.join()

    @staticmethod
    def _answer(request):
        sender = request.get_response_sender()
        values = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        for index, (value, delay) in enumerate(zip(values, milliseconds(request, "DELAY"))):
            time.sleep(delay / 1000)
            if sender.is_cancelled():
                break
            sender.send(
                pb_utils.InferenceResponse(
                    output_tensors=[
                        pb_utils.Tensor("OUT", np.array([value], np.int32)),
                        pb_utils.Tensor("IDX", np.array([index], np.uint32)),
                    ]
                )
            )
        # Says that there are no more responses. The request is open until then.
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def milliseconds(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy().tolist()
