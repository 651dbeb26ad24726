"""Compares the configurations that are served with what the models have said, and sends requests."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import numpy as np

DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}
TENSOR = {"data_type": "TYPE_FP32", "dims": [4]}
EXPECTED: dict[str, dict[str, Any]] = {
    model: {
        "max_batch_size": max_batch_size,
        "input": [{"name": name, **TENSOR} for name in ("INPUT0", "INPUT1")],
        "output": [{"name": name, **TENSOR} for name in ("OUTPUT0", "OUTPUT1")],
        "dynamic_batching": dynamic_batching,
    }
    for model, max_batch_size, dynamic_batching in (
        ("nobatch_auto_complete", 0, False),
        ("batch_auto_complete", 4, True),
    )
}


def main() -> int:
    arguments = parse_arguments()
    # tritonclient.http and tritonclient.grpc have the same names.
    triton: Any = importlib.import_module(f"tritonclient.{arguments.protocol}")
    with triton.InferenceServerClient(arguments.url or DEFAULT_URL[arguments.protocol]) as client:
        for model, expected in EXPECTED.items():
            served = served_config(client, arguments.protocol, model)
            print(f"{model}: {served}")
            if served != expected:
                return fail(f"'{model}' is served as {served}, expected {expected}")
            if not adds_and_subtracts(triton, client, model, rows=expected["max_batch_size"]):
                return fail(f"'{model}' does not add and subtract")
    print("PASS: auto_complete")
    return 0


def served_config(client: Any, protocol: str, model: str) -> dict[str, Any]:
    """The parts that the model has completed, in one form for both protocols."""
    if protocol == "grpc":
        config = client.get_model_config(model, as_json=True)["config"]
    else:
        config = client.get_model_config(model)
    return {
        "max_batch_size": config.get("max_batch_size", 0),
        "input": [tensor(one) for one in config["input"]],
        "output": [tensor(one) for one in config["output"]],
        "dynamic_batching": "dynamic_batching" in config,
    }


def tensor(config: dict[str, Any]) -> dict[str, Any]:
    # JSON made from gRPC's messages has 64-bit numbers as text.
    dims = [int(dim) for dim in config["dims"]]
    return {"name": config["name"], "data_type": config["data_type"], "dims": dims}


def adds_and_subtracts(triton: Any, client: Any, model: str, rows: int) -> bool:
    shape = [rows, 4] if rows else [4]
    random = np.random.default_rng()
    left, right = (random.random(shape, dtype=np.float32) for _ in range(2))
    inputs = [triton.InferInput(name, shape, "FP32") for name in ("INPUT0", "INPUT1")]
    for one, value in zip(inputs, (left, right)):
        one.set_data_from_numpy(value)
    result = client.infer(model, inputs)
    return np.allclose(result.as_numpy("OUTPUT0"), left + right) and np.allclose(
        result.as_numpy("OUTPUT1"), left - right
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=sorted(DEFAULT_URL), default="http")
    parser.add_argument("--url", help=f"host:port of the server (default: {DEFAULT_URL})")
    return parser.parse_args()


def fail(reason: str) -> int:
    print(f"FAIL: auto_complete: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
