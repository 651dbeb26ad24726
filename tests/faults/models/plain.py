"""Answers at once."""

from planted_faults import point
from planted_model import Model, answer, response


class TritonPythonModel(Model):
    def one(self, request):
        point("execute")
        return response(answer(request))
