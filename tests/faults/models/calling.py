"""Has another model answer, whose name is in the parameter `other`."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from planted_faults import point
from planted_model import Model

import triton_python_backend_utils as pb_utils


class TritonPythonModel(Model):
    def initialize(self, args):
        super().initialize(args)
        # Its thread is there before memory may get short: Python waits for ever for one that cannot begin.
        self.pool = ThreadPoolExecutor(1)
        self.pool.submit(int).result()
        self.other = json.loads(args["model_config"])["parameters"]["other"]["string_value"]

    def one(self, request):
        called = pb_utils.InferenceRequest(
            model_name=self.other, inputs=request.inputs(), requested_output_names=["OUT"]
        )
        calling = self.pool.submit(called.exec)
        try:
            time.sleep(0.01)
            point("call")
        finally:
            got = calling.result()
        if got.has_error():
            return pb_utils.InferenceResponse(error=got.error())
        return pb_utils.InferenceResponse(got.output_tensors())
