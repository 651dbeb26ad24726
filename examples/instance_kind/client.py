"""Sends pictures to `resnet50`, alone and together, and checks that their scores are the same either way."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import numpy as np

MODEL = "resnet50"
DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}
PICTURES = 3


def main() -> int:
    arguments = parse_arguments()
    # tritonclient.http and tritonclient.grpc have the same names.
    triton: Any = importlib.import_module(f"tritonclient.{arguments.protocol}")
    pictures = np.random.default_rng().random((PICTURES, 3, 224, 224), dtype=np.float32)
    with triton.InferenceServerClient(arguments.url or DEFAULT_URL[arguments.protocol]) as client:
        together = ask(triton, client, pictures)
        alone = np.concatenate([ask(triton, client, pictures[[one]]) for one in range(PICTURES)])

    if together.shape != (PICTURES, 1000):
        return fail(f"OUTPUT has the shape {together.shape}")
    print(f"the classes of {PICTURES} random pictures: {together.argmax(axis=1)}")
    if not np.allclose(together, alone, atol=1e-4):
        return fail("pictures have other scores together than alone")
    if np.allclose(together[0], together[1], atol=1e-4):
        return fail("two pictures have the same scores")
    print("PASS: instance_kind")
    return 0


def ask(triton: Any, client: Any, pictures: Any) -> Any:
    tensor = triton.InferInput("INPUT", list(pictures.shape), "FP32")
    tensor.set_data_from_numpy(pictures)
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
