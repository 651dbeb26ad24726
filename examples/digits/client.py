"""Sends the digits that `digits` was not trained on, 16 at once; checks the accuracy and the batching."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

MODEL = "digits"
DEFAULT_URL = {"http": "localhost:8000", "grpc": "localhost:8001"}
IN_FLIGHT = 16
LOWEST_ACCURACY = 0.95
NAMES = [b"zero", b"one", b"two", b"three", b"four", b"five", b"six", b"seven", b"eight", b"nine"]


def main() -> int:
    arguments = parse_arguments()
    images, labels = held_out_digits()
    url = arguments.url or DEFAULT_URL[arguments.protocol]
    answers, batches = asyncio.run(classify(arguments.protocol, url, images))

    accuracy = float(np.mean(answers == labels))
    print(f"{len(images)} images, accuracy {accuracy:.3f}")
    print("batches: " + ", ".join(f"{count} of size {size}" for size, count in sorted(batches.items())))
    if accuracy < LOWEST_ACCURACY:
        return fail(f"the accuracy is below {LOWEST_ACCURACY}")
    if max(batches, default=0) < 2:
        return fail("the server did not batch the requests")
    print(f"PASS: {MODEL}")
    return 0


def held_out_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The quarter of the images that model.py leaves out of its training."""
    images, labels = load_digits(return_X_y=True)
    _, images, _, labels = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)
    return images.astype(np.float32), labels.astype(np.int64)


async def classify(
    protocol: str, url: str, images: NDArray[np.float32]
) -> tuple[NDArray[np.int64], Counter[int]]:
    """The label of each image, and how often the server ran a batch of which size for them."""
    # Both modules have the same names, but for the form of the statistics.
    triton: Any = importlib.import_module(f"tritonclient.{protocol}.aio")
    free_slots = asyncio.Semaphore(IN_FLIGHT)

    async def ask(image: NDArray[np.float32]) -> int:
        pixels = triton.InferInput("PIXELS", [1, image.size], "FP32")
        pixels.set_data_from_numpy(image.reshape(1, -1))
        async with free_slots:
            result = await client.infer(MODEL, [pixels])
        label = result.as_numpy("LABEL").item()  # strings arrive as bytes
        probabilities = result.as_numpy("PROBABILITIES")
        digit = int(probabilities.argmax())
        if label != NAMES[digit] or not np.isclose(probabilities.sum(), 1, atol=1e-3):
            raise ValueError(f"label {label!r} does not fit the probabilities {probabilities}")
        return digit

    async with triton.InferenceServerClient(url) as client:
        before = await batch_counts(client, protocol)
        labels = await asyncio.gather(*(ask(image) for image in images))
        after = await batch_counts(client, protocol)
    return np.array(labels, dtype=np.int64), after - before


async def batch_counts(client: Any, protocol: str) -> Counter[int]:
    """Batch size -> how many batches of that size the model has run since it was loaded."""
    as_dictionary = {"as_json": True} if protocol == "grpc" else {}
    statistics = await client.get_inference_statistics(MODEL, **as_dictionary)
    (model,) = statistics["model_stats"]
    return Counter(
        {int(row["batch_size"]): int(row["compute_infer"]["count"]) for row in model.get("batch_stats", [])}
    )


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
