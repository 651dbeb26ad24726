"""Asks `square_int32` over a gRPC stream and checks that n is answered n times with n."""

from __future__ import annotations

import argparse
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

MODEL = "square_int32"
NUMBERS = [4, 2, 0, 1]
ANSWER_SECONDS = 60


def main() -> int:
    arguments = parse_arguments()
    # The responses come on a thread of the client.
    responses: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()
    with triton.InferenceServerClient(arguments.url) as client:
        client.start_stream(callback=lambda result, error: responses.put((result, error)))
        for number in NUMBERS:
            tensor = triton.InferInput("IN", [1], "INT32")
            tensor.set_data_from_numpy(np.array([number], np.int32))
            # With this option the end of the responses is a response, too: the only one for 0.
            client.async_stream_infer(
                MODEL, [tensor], request_id=str(number), enable_empty_final_response=True
            )
        received: dict[int, list[int]] = {number: [] for number in NUMBERS}
        still_open = set(NUMBERS)
        while still_open:
            result, error = responses.get(timeout=ANSWER_SECONDS)
            if error is not None:
                return fail(str(error))
            response = result.get_response()
            number = int(response.id)
            if response.outputs:
                received[number].append(int(result.as_numpy("OUT")[0]))
            if response.parameters["triton_final_response"].bool_param:
                still_open.remove(number)
        client.stop_stream()

    for number, values in received.items():
        print(f"{number}: {values}")
        if values != [number] * number:
            return fail(f"{number} was answered with {values}")
    print(f"PASS: {MODEL}")
    return 0


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
