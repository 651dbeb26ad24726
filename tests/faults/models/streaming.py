"""Answers in parts: as many responses as COUNT says."""

import numpy as np
from planted_faults import point
from planted_model import Model, answer, response

import triton_python_backend_utils as pb_utils


class TritonPythonModel(Model):
    def execute(self, requests):
        for request in requests:
            self.one(request)

    def one(self, request):
        sender = request.get_response_sender()
        for index, number in enumerate(answer(request)):
            if index == 3:
                point("stream")
            sender.send(response(np.array([number + index], np.int32)))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
