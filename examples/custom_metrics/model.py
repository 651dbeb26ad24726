"""Adds and subtracts two vectors, and counts on the server's metrics page how long that has taken."""

import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Serves as `custom_metrics`; its instances count in the same metric."""

    def initialize(self, args):
        """Makes the metric. It leaves the page when the last object for it is gone, so it is kept."""
        self.metric_family = pb_utils.MetricFamily(
            name="requests_process_latency_ns",
            description="Cumulative time spent processing requests",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.metric = self.metric_family.Metric(
            labels={"model": args["model_name"], "version": args["model_version"]}
        )

    def execute(self, requests):
        """Called with one or more requests; returns one response for each, in the same order."""
        start = time.perf_counter_ns()
        responses = [self._respond(request) for request in requests]
        # Does not wait for the server, which counts it before it sends the responses.
        self.metric.increment(time.perf_counter_ns() - start)
        return responses

    @staticmethod
    def _respond(request):
        left = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        right = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("OUTPUT0", left + right),
                pb_utils.Tensor("OUTPUT1", left - right),
            ]
        )
