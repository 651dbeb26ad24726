"""Adds and subtracts two vectors with a PyTorch module. Tensors go in and out by DLPack, without a copy."""

import torch
from torch import nn

import triton_python_backend_utils as pb_utils


class AddSubNet(nn.Module):
    """Where yours would have layers, and `initialize` would load their weights."""

    def forward(self, left, right):
        return left + right, left - right


class TritonPythonModel:
    """Serves as `pytorch`."""

    def initialize(self, args):
        self.net = AddSubNet().eval()

    @torch.inference_mode()
    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        left, right = (
            torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
            for name in ("INPUT0", "INPUT1")
        )
        total, difference = self.net(left, right)
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor.from_dlpack("OUTPUT0", total),
                pb_utils.Tensor.from_dlpack("OUTPUT1", difference),
            ]
        )
