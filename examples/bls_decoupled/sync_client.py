"""Sends numbers to `bls_decoupled_sync` and checks that the answers are their squares."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import numpy as np

MODEL = "bls_decoupled_sync"
DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}
NUMBERS = [4, 2, 0, 1]


def main() -> int:
    arguments = parse_arguments()
    # tritonclient.http and tritonclient.grpc have the same names.
    triton: Any = importlib.import_module(f"tritonclient.{arguments.protocol}")
    with triton.InferenceServerClient(arguments.url or DEFAULT_URL[arguments.protocol]) as client:
        for number in NUMBERS:
            tensor = triton.InferInput("IN", [1], "INT32")
            tensor.set_data_from_numpy(np.array([number], np.int32))
            total = client.infer(MODEL, [tensor], request_id=str(number)).as_numpy("SUM")
            print(f"{number} responses of {number}: {total}")
            if total.tolist() != [number * number]:
                return fail(f"SUM is {total} for {number}")
    print("PASS: BLS Decoupled Sync")
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
