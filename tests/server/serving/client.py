"""tritonclient, HTTP or gRPC, with one manner of asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from serving.server import TritonServer
from serving.waiting import wait_until

Arrays = dict[str, np.ndarray]
PROTOCOLS = ("http", "grpc")
LOADED = ("READY", "LOADING", "UNLOADING")
# Ends a call that would hang; generous, for nothing may need it.
CALL_SECONDS = 120


class Client:
    """One connection. Not for several threads at once."""

    def __init__(self, server: TritonServer, protocol: str = "http") -> None:
        self.protocol = protocol
        self._server = server
        self._module: ModuleType = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
        if protocol == "http":
            self.raw = tritonclient.http.InferenceServerClient(server.http_url, network_timeout=CALL_SECONDS)
            self._limits: dict[str, Any] = {}
        else:
            self.raw = tritonclient.grpc.InferenceServerClient(server.grpc_url)
            self._limits = {"client_timeout": CALL_SECONDS}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None,
        **options: Any,
    ) -> Arrays:
        """The outputs by name. `outputs` are those to ask for; without, all. Options are tritonclient's."""
        return self.arrays(self.result(model, inputs, outputs, **options))

    def result(
        self,
        model: str,
        inputs: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """tritonclient's own InferResult."""
        wanted = None if outputs is None else [self._module.InferRequestedOutput(name) for name in outputs]
        return self.raw.infer(
            model, self.tensors(inputs or {}), outputs=wanted, **{**self._limits, **options}
        )

    def tensors(self, inputs: Mapping[str, Any]) -> list[Any]:
        """From arrays, and from tensors that `tensor_of` made."""
        tensors = []
        for name, array in inputs.items():
            if not isinstance(array, np.ndarray):
                tensors.append(array)
                continue
            data_type = np_to_triton_dtype(array.dtype)
            tensor = self._module.InferInput(name, list(array.shape), data_type)
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        return tensors

    def tensor_of(self, name: str, data_type: str, shape: Sequence[int], payload: bytes) -> Any:
        """An input of any type with any payload, right or wrong, as it travels."""
        tensor = self._module.InferInput(name, list(shape), data_type)
        if self.protocol == "http":
            tensor._raw_data = payload
            tensor._parameters["binary_data_size"] = len(payload)
        else:
            tensor._raw_content = payload
        return tensor

    def arrays(self, result: Any) -> Arrays:
        return {name: result.as_numpy(name) for name in self.output_names(result)}

    def output_names(self, result: Any) -> list[str]:
        if self.protocol == "http":
            return [output["name"] for output in result.get_response().get("outputs", [])]
        return [output.name for output in result.get_response().outputs]

    def error(self, model: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> str:
        """The text of the error that the request must end with."""
        return str(self.failure(model, inputs, **options).message())

    def failure(
        self, model: str, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> InferenceServerException:
        try:
            result = self.infer(model, inputs, **options)
        except InferenceServerException as error:
            return error
        raise AssertionError(f"model '{model}' was to fail and answered {result}")

    def load(self, model: str) -> None:
        self.raw.load_model(model)

    def load_error(self, model: str) -> str:
        """The text of the error that loading must end with."""
        try:
            self.raw.load_model(model)
        except InferenceServerException as error:
            return str(error.message())
        raise AssertionError(f"model '{model}' was not to load")

    def unload(self, model: str) -> None:
        """Returns when the model is gone; the server answers the call itself at once."""
        self._server.settle()
        self.raw.unload_model(model)
        wait_until(f"'{model}' to be unloaded", lambda: self.state(model) not in LOADED)

    def state(self, model: str) -> str:
        """Such as `READY`, `UNLOADING` or `UNAVAILABLE: unloaded`."""
        for entry in self._index():
            if entry.get("name") == model and entry.get("state"):
                return ": ".join(filter(None, (entry["state"], entry.get("reason"))))
        return ""

    def config(self, model: str) -> dict[str, Any]:
        if self.protocol == "http":
            return dict(self.raw.get_model_config(model))
        return dict(self.raw.get_model_config(model, as_json=True)["config"])

    def statistics(self, model: str) -> dict[str, Any]:
        assert self.protocol == "http"
        return dict(self.raw.get_inference_statistics(model)["model_stats"][0])

    def _index(self) -> list[dict[str, Any]]:
        if self.protocol == "http":
            return list(self.raw.get_model_repository_index())
        return list(self.raw.get_model_repository_index(as_json=True).get("models", []))
