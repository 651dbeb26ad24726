"""Decodes pictures and makes of them what a ResNet wants: 224 by 224, channels first, normalised."""

import re

import numpy as np

import triton_python_backend_utils as pb_utils

SIDE = 224
# Of the pictures that such networks are trained on: red, green, blue.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# A binary PPM: the one format that can be read in a line.
HEADER = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")


class TritonPythonModel:
    """Serves as `preprocess`."""

    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        return [self._respond(request) for request in requests]

    @staticmethod
    def _respond(request):
        # One row for each picture of the request.
        files = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
        try:
            pictures = np.stack([normalise(decode(file.tobytes())) for file in files])
        except ValueError as error:
            reason = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=reason)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT", pictures)])


def decode(file):
    """The pixels, [height, width, 3]. Where yours would call Pillow."""
    header = HEADER.match(file)
    if header is None:
        raise ValueError("INPUT is not a binary PPM picture with values up to 255")
    width, height = int(header[1]), int(header[2])
    pixels = np.frombuffer(file, np.uint8, offset=header.end())
    if not pixels.size or pixels.size != width * height * 3:
        raise ValueError(
            f"INPUT has {pixels.size} bytes of pixels, {width} x {height} need {width * height * 3}"
        )
    return pixels.reshape(height, width, 3)


def normalise(pixels):
    """To [3, 224, 224]: each pixel is the one that lies at its place in the picture."""
    rows, columns = (np.arange(SIDE) * length // SIDE for length in pixels.shape[:2])
    colours = pixels[np.ix_(rows, columns)].astype(np.float32) / 255
    return ((colours - MEAN) / DEVIATION).transpose(2, 0, 1)
