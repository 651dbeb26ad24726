"""A gRPC stream: any number of responses to a request."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

from serving.client import CALL_SECONDS, Client
from serving.server import TritonServer


@dataclass(frozen=True)
class Response:
    """One response: outputs or an error, and whether it was the last one."""

    request: str
    outputs: dict[str, np.ndarray]
    error: str | None
    final: bool
    parameters: dict[str, Any]


class Stream:
    """One stream. Requests may overlap; their responses are told apart by the request's id."""

    def __init__(self, server: TritonServer) -> None:
        self._client = Client(server, "grpc")
        self._responses: queue.Queue[Response] = queue.Queue()
        self._client.raw.start_stream(callback=self._take)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, cancel: bool = False) -> None:
        self._client.raw.stop_stream(cancel_requests=cancel)
        self._client.raw.close()

    def send(
        self, model: str, inputs: Mapping[str, Any] | None = None, request: str = "", **more: Any
    ) -> None:
        self._client.raw.async_stream_infer(
            model,
            self._client.tensors(inputs or {}),
            request_id=request,
            enable_empty_final_response=True,
            **more,
        )

    def next(self) -> Response:
        return self._responses.get(timeout=CALL_SECONDS)

    def until_final(self) -> list[Response]:
        """The responses to the one request that is under way; a bare final flag is none of them."""
        responses = []
        while True:
            response = self.next()
            if response.outputs or response.error or not response.final:
                responses.append(response)
            if response.final:
                return responses

    def ask(self, model: str, inputs: Mapping[str, Any] | None = None, **more: Any) -> list[Response]:
        self.send(model, inputs, **more)
        return self.until_final()

    def _take(self, result: Any, error: InferenceServerException | None) -> None:
        if error is not None:
            self._responses.put(Response("", {}, str(error.message()), True, {}))
            return
        message = result.get_response()
        parameters = {
            name: getattr(value, value.WhichOneof("parameter_choice"))
            for name, value in message.parameters.items()
        }
        self._responses.put(
            Response(
                request=message.id,
                outputs=self._client.arrays(result),
                error=None,
                final=bool(parameters.pop("triton_final_response", False)),
                parameters=parameters,
            )
        )
