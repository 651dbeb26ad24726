"""Sends numbers to `repeat_int32` over a gRPC stream and checks that each comes back in its own response."""

from __future__ import annotations

import argparse
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

MODEL = "repeat_int32"
VALUES = [4, 2, 0, 1]
DELAYS = [1, 2, 3, 4]  # milliseconds before each response
WAIT = 5  # milliseconds before the model takes the next request
REQUESTS = 2
ANSWER_SECONDS = 60


def main() -> int:
    arguments = parse_arguments()
    # The responses come on a thread of the client.
    responses: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
    received: dict[str, list[tuple[int, int]]] = {str(number): [] for number in range(REQUESTS)}
    with triton.InferenceServerClient(arguments.url) as client:
        client.start_stream(callback=lambda result, error: responses.put((result, error)))
        for request_id in received:
            # With this option the end of the responses is a response, too; without it the client would have
            # to know how many there will be.
            client.async_stream_infer(
                MODEL, inputs(), request_id=request_id, enable_empty_final_response=True
            )
        open_requests = set(received)
        while open_requests:
            result, error = responses.get(timeout=ANSWER_SECONDS)
            if error is not None:
                return fail(str(error))
            response = result.get_response()
            if response.outputs:
                value, index = int(result.as_numpy("OUT")[0]), int(result.as_numpy("IDX")[0])
                print(f"request {response.id}: OUT {value}, IDX {index}")
                received[response.id].append((value, index))
            if response.parameters["triton_final_response"].bool_param:
                open_requests.remove(response.id)
        client.stop_stream()

    expected = [(value, index) for index, value in enumerate(VALUES)]
    for request_id, pairs in received.items():
        if pairs != expected:
            return fail(f"request {request_id} got {pairs}, expected {expected}")
    print(f"PASS: {MODEL}")
    return 0


def inputs() -> list[triton.InferInput]:
    arrays = {
        "IN": np.array(VALUES, np.int32),
        "DELAY": np.array(DELAYS, np.uint32),
        "WAIT": np.array([WAIT], np.uint32),
    }
    tensors = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), "INT32" if name == "IN" else "UINT32")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--url", default="localhost:8001", help="host:port of the server's gRPC (default: %(default)s)"
    )
    return parser.parse_args()


def fail(reason: str) -> int:
    print(f"FAIL: {MODEL}: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
