"""Takes its time."""

import time

from planted_faults import point
from planted_model import Model, answer, response


class TritonPythonModel(Model):
    def one(self, request):
        time.sleep(0.03)
        point("execute")
        return response(answer(request))
