"""Sends pictures to `ensemble_python_resnet50` and checks their scores, and that other bytes are refused."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

MODEL = "ensemble_python_resnet50"
DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}


def main() -> int:
    arguments = parse_arguments()
    # tritonclient.http and tritonclient.grpc have the same names.
    triton: Any = importlib.import_module(f"tritonclient.{arguments.protocol}")
    with triton.InferenceServerClient(arguments.url or DEFAULT_URL[arguments.protocol]) as client:
        # The same picture in two sizes, and another one.
        scores = [ask(triton, client, file) for file in (picture(224), picture(448), picture(224, flip=True))]
        try:
            ask(triton, client, b"no picture")
        except InferenceServerException as error:
            print(f"other bytes: {error.message()}")
        else:
            return fail("bytes that are no picture have been answered")

    small, large, other = scores
    print(f"classes: {small.argmax()}, {large.argmax()}, {other.argmax()}")
    if small.shape != (1, 1000):
        return fail(f"OUTPUT has the shape {small.shape}")
    if not np.allclose(small, large, atol=1e-3):
        return fail("a picture has other scores in another size")
    if np.allclose(small, other, atol=1e-3):
        return fail("two pictures have the same scores")
    print("PASS: preprocessing")
    return 0


def picture(side: int, flip: bool = False) -> bytes:
    """A file: a binary PPM of red that grows to the right and green that grows downwards, in 224 steps."""
    steps = (np.arange(side) * 224 // side).astype(np.uint8)
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, :, 0] = steps[::-1] if flip else steps
    pixels[:, :, 1] = steps[:, np.newaxis]
    return b"P6 %d %d 255\n" % (side, side) + pixels.tobytes()


def ask(triton: Any, client: Any, file: bytes) -> Any:
    tensor = triton.InferInput("INPUT", [1, len(file)], "UINT8")
    tensor.set_data_from_numpy(np.frombuffer(file, np.uint8).reshape(1, -1))
    return client.infer(MODEL, [tensor]).as_numpy("OUTPUT")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=sorted(DEFAULT_URL), default="http")
    parser.add_argument("--url", help=f"host:port of the server (default: {DEFAULT_URL})")
    return parser.parse_args()


def fail(reason: str) -> int:
    print(f"FAIL: {MODEL}: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
