"""Sends requests to the model `custom_metrics`, checks the answers and that the metrics page counts them."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import urllib.request
from typing import Any

import numpy as np

MODEL = "custom_metrics"
METRIC = "requests_process_latency_ns"
DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}
DEFAULT_METRICS_URL = "localhost:8002"
REQUESTS = 10


def main() -> int:
    arguments = parse_arguments()
    # tritonclient.http and tritonclient.grpc have the same names.
    triton: Any = importlib.import_module(f"tritonclient.{arguments.protocol}")
    before = latency(arguments.metrics_url)

    with triton.InferenceServerClient(arguments.url or DEFAULT_URL[arguments.protocol]) as client:
        for _ in range(REQUESTS):
            if not infer(triton, client):
                return fail("the outputs are not the sum and the difference")

    after = latency(arguments.metrics_url)
    print(f"{METRIC}: {before:.0f} before {REQUESTS} requests, {after:.0f} after")
    if not after > before:
        return fail("the metric has not grown")
    print(f"PASS: {MODEL}")
    return 0


def infer(triton: Any, client: Any) -> bool:
    """Whether the outputs for two random vectors are right."""
    random = np.random.default_rng()
    left, right = (random.random(4, dtype=np.float32) for _ in range(2))
    inputs = [triton.InferInput(name, [4], "FP32") for name in ("INPUT0", "INPUT1")]
    inputs[0].set_data_from_numpy(left)
    inputs[1].set_data_from_numpy(right)
    outputs = [triton.InferRequestedOutput(name) for name in ("OUTPUT0", "OUTPUT1")]
    result = client.infer(MODEL, inputs, request_id="1", outputs=outputs)
    return np.allclose(left + right, result.as_numpy("OUTPUT0")) and np.allclose(
        left - right, result.as_numpy("OUTPUT1")
    )


def latency(url: str) -> float:
    """The value of the model's metric on the metrics page."""
    with urllib.request.urlopen(f"http://{url}/metrics", timeout=60) as page:
        text = page.read().decode()
    found = re.search(rf'^{METRIC}{{model="{MODEL}",version="1"}} (\S+)$', text, re.MULTILINE)
    if found is None:
        sys.exit(fail(f"the metrics page has no {METRIC}"))
    return float(found[1])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=sorted(DEFAULT_URL), default="http")
    parser.add_argument("--url", help=f"host:port of the server (default: {DEFAULT_URL})")
    parser.add_argument(
        "--metrics-url", default=DEFAULT_METRICS_URL, help="host:port of its metrics (default: %(default)s)"
    )
    return parser.parse_args()


def fail(reason: str) -> int:
    print(f"FAIL: {MODEL}: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
