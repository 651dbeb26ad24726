"""Sends two random vectors to the model `pytorch` and checks the answer."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import numpy as np

MODEL = "pytorch"
DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}


def main() -> int:
    arguments = parse_arguments()
    # tritonclient.http and tritonclient.grpc have the same names.
    triton: Any = importlib.import_module(f"tritonclient.{arguments.protocol}")
    random = np.random.default_rng()
    left, right = (random.random(4, dtype=np.float32) for _ in range(2))

    with triton.InferenceServerClient(arguments.url or DEFAULT_URL[arguments.protocol]) as client:
        inputs = [triton.InferInput(name, [4], "FP32") for name in ("INPUT0", "INPUT1")]
        inputs[0].set_data_from_numpy(left)
        inputs[1].set_data_from_numpy(right)
        outputs = [triton.InferRequestedOutput(name) for name in ("OUTPUT0", "OUTPUT1")]
        result = client.infer(MODEL, inputs, request_id="1", outputs=outputs)

    total, difference = result.as_numpy("OUTPUT0"), result.as_numpy("OUTPUT1")
    print(f"{left} + {right} = {total}")
    print(f"{left} - {right} = {difference}")
    if not np.allclose(left + right, total):
        return fail("OUTPUT0 is not the sum")
    if not np.allclose(left - right, difference):
        return fail("OUTPUT1 is not the difference")
    print(f"PASS: {MODEL}")
    return 0


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
