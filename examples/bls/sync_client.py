"""Has `bls_sync` call `add_sub`, and a model that does not exist, and checks both answers."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

MODEL = "bls_sync"
DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}


def main() -> int:
    arguments = parse_arguments()
    # tritonclient.http and tritonclient.grpc have the same names.
    triton: Any = importlib.import_module(f"tritonclient.{arguments.protocol}")
    random = np.random.default_rng()
    left, right = (random.random(4, dtype=np.float32) for _ in range(2))

    with triton.InferenceServerClient(arguments.url or DEFAULT_URL[arguments.protocol]) as client:
        total, difference = ask(triton, client, "add_sub", left, right)
        print(f"add_sub: {left} + {right} = {total}")
        print(f"add_sub: {left} - {right} = {difference}")
        if not np.allclose(left + right, total):
            return fail("OUTPUT0 is not the sum")
        if not np.allclose(left - right, difference):
            return fail("OUTPUT1 is not the difference")
        try:
            ask(triton, client, "undefined_model", left, right)
        except InferenceServerException as error:
            print(f"undefined_model: {error.message()}")
        else:
            return fail("a model that does not exist has answered")
    print("PASS: BLS Sync")
    return 0


def ask(triton: Any, client: Any, child: str, left: Any, right: Any) -> tuple[Any, Any]:
    inputs = [
        triton.InferInput("MODEL_NAME", [1], "BYTES"),
        triton.InferInput("INPUT0", [4], "FP32"),
        triton.InferInput("INPUT1", [4], "FP32"),
    ]
    for one, value in zip(inputs, (np.array([child], dtype=object), left, right)):
        one.set_data_from_numpy(value)
    outputs = [triton.InferRequestedOutput(name) for name in ("OUTPUT0", "OUTPUT1")]
    result = client.infer(MODEL, inputs, request_id="1", outputs=outputs)
    return result.as_numpy("OUTPUT0"), result.as_numpy("OUTPUT1")


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
