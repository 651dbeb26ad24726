"""Recognises handwritten digits: a scikit-learn classifier, trained when the model is loaded.

The server collects single images into batches (`dynamic_batching` in config.pbtxt); `execute` classifies
the images of all its requests in one call.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import triton_python_backend_utils as pb_utils

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class TritonPythonModel:
    def initialize(self, args):
        images, labels = load_digits(return_X_y=True)
        # client.py makes the same split and sends the other part.
        train_images, _, train_labels, _ = train_test_split(
            images, labels, test_size=0.25, stratify=labels, random_state=0
        )
        self.classifier = make_pipeline(
            Nystroem(gamma=0.001, n_components=300, random_state=0), LogisticRegression(C=100, max_iter=2000)
        )
        self.classifier.fit(train_images, train_labels)
        # Strings are arrays of objects: str or bytes, one for each element.
        self.names = np.array([NAMES[digit] for digit in self.classifier.classes_], dtype=object)

    def execute(self, requests):
        # One request may itself carry several images: shape [n, 64].
        pixels = [pb_utils.get_input_tensor_by_name(request, "PIXELS").as_numpy() for request in requests]
        probabilities = self.classifier.predict_proba(np.concatenate(pixels)).astype(np.float32)
        labels = self.names[probabilities.argmax(axis=1)].reshape(-1, 1)

        ends = np.cumsum([len(part) for part in pixels])[:-1]
        return [
            pb_utils.InferenceResponse(
                output_tensors=[
                    pb_utils.Tensor("PROBABILITIES", request_probabilities),
                    pb_utils.Tensor("LABEL", request_labels),
                ]
            )
            for request_probabilities, request_labels in zip(
                np.split(probabilities, ends), np.split(labels, ends)
            )
        ]
