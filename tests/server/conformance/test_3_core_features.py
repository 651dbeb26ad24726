"""What the server's core does around a model: sequences, warm-up, shared memory of clients, unloads."""

from __future__ import annotations

import json
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from http import client as http_client
from pathlib import Path

import numpy as np
import tritonclient.http
from serving.client import Client
from serving.repository import config, identity_config, instance_group, model_code
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until
from tritonclient.utils import shared_memory

TENSORS = ({"IN": ("INT32", [-1])}, {"OUT": ("INT32", [-1])})
ONE = {"IN": np.array([1], np.int32)}
GOOD = model_code("identity")
# Sums up each sequence, told by the control inputs that core adds to the client's.
SEQUENCE_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    sums = {}

    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        start, end, ready, name = (
            pb_utils.get_input_tensor_by_name(request, one).as_numpy()
            for one in ("START", "END", "READY", "CORRID")
        )
        if not ready.ravel()[0]:  # core fills a batch up with requests of nobody
            return pb_utils.InferenceResponse([])
        key = int(name.ravel()[0])
        assert request.correlation_id() == key
        starts = request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
        ends = request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
        assert (bool(start.ravel()[0]), bool(end.ravel()[0])) == (bool(starts), bool(ends))
        if start.ravel()[0]:
            self.sums[key] = 0
        self.sums[key] += pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", self.sums[key].copy())])
"""
SEQUENCE_CONFIG = config(
    *TENSORS,
    max_batch_size=4,
    more="""sequence_batching {
  max_sequence_idle_microseconds: 60000000
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ 0, 1 ] } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
}"""
    + "\n"
    + instance_group(2),
)


def test_a_sequence_stays_with_its_instance_and_sees_its_control_inputs(load: Load, client: Client) -> None:
    model = load(SEQUENCE_MODEL, SEQUENCE_CONFIG)
    sums = {sequence: 0 for sequence in (5, 6, 7)}
    for step in range(4):
        for sequence in sums:
            sums[sequence] += 10 * sequence + step
            got = client.infer(
                model,
                {"IN": np.array([[10 * sequence + step]], np.int32)},
                sequence_id=sequence,
                sequence_start=step == 0,
                sequence_end=step == 3,
            )
            assert got["OUT"].tolist() == [[sums[sequence]]]


def test_warm_up_requests_run_before_the_model_is_ready(load: Load, http: Client, repository: Path) -> None:
    model = load(
        """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"] + "/notes"

    def execute(self, requests):
        arrays = [request.inputs()[0].as_numpy() for request in requests]
        with open(self.notes, "a") as notes:
            print([array.tolist() for array in arrays], file=notes)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]) for array in arrays]
""",
        config(
            *TENSORS,
            more="""model_warmup [ {
  name: "zeros"
  batch_size: 1
  inputs { key: "IN" value { data_type: TYPE_INT32 dims: [ 3 ] zero_data: true } }
} ]""",
        ),
    )
    assert (repository / model / "notes").read_text() == "[[0, 0, 0]]\n"
    assert http.infer(model, ONE)["OUT"].tolist() == [1]


def test_tensors_in_a_clients_shared_memory(load: Load, http: Client) -> None:
    model = load(GOOD, config(*TENSORS))
    size = 1 << 16
    key = f"/tpb_test_{uuid.uuid4().hex}"
    region = shared_memory.create_shared_memory_region("region", key, 2 * size)
    try:
        http.raw.register_system_shared_memory("region", key, 2 * size)
        sent = np.arange(size // 4, dtype=np.int32)
        shared_memory.set_shared_memory_region(region, [sent])
        tensor = tritonclient.http.InferInput("IN", [size // 4], "INT32")
        tensor.set_shared_memory("region", size)
        wanted = tritonclient.http.InferRequestedOutput("OUT")
        wanted.set_shared_memory("region", size, offset=size)
        http.raw.infer(model, [tensor], outputs=[wanted])
        got = shared_memory.get_contents_as_numpy(region, np.int32, [size // 4], offset=size)
        assert np.array_equal(got, sent)
        http.raw.unregister_system_shared_memory("region")
    finally:
        shared_memory.destroy_shared_memory_region(region)


def test_an_unload_waits_for_the_requests_in_flight(
    load: Load, server: TritonServer, http: Client, repository: Path
) -> None:
    model = load(
        """
import pathlib
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = pathlib.Path(args["model_repository"])

    def execute(self, requests):
        (self.folder / "executing").touch()
        while not (self.folder / "go on").exists():
            time.sleep(0.01)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", requests[0].inputs()[0].as_numpy())])]

    def finalize(self):
        (self.folder / "finalized").touch()
""",
        config(*TENSORS),
    )
    folder = repository / model

    def ask() -> list[int]:
        with Client(server) as other:
            return list(other.infer(model, ONE)["OUT"].tolist())

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask)
        wait_until("execute", (folder / "executing").exists)
        http.raw.unload_model(model)
        wait_until("the unload to begin", lambda: http.state(model) == "UNLOADING")
        assert not (folder / "finalized").exists()
        (folder / "go on").touch()
        assert answer.result() == [1]
    wait_until("finalize", (folder / "finalized").exists)


def test_a_client_that_goes_away_harms_nobody(
    load: Load, server: TritonServer, http: Client, repository: Path
) -> None:
    """Its request is executed; the answer finds nobody."""
    model = load(
        """
import pathlib
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.folder = pathlib.Path(args["model_repository"])

    def execute(self, requests):
        (self.folder / "executing").touch()
        while not (self.folder / "go on").exists():
            time.sleep(0.01)
        output = np.zeros(1 << 18, np.int32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", output)]) for _ in requests]
""",
        config(*TENSORS),
    )
    folder = repository / model
    body = json.dumps({"inputs": [{"name": "IN", "shape": [1], "datatype": "INT32", "data": [1]}]})
    leaving = http_client.HTTPConnection(server.http_url)
    leaving.request("POST", f"/v2/models/{model}/infer", body)
    wait_until("execute", (folder / "executing").exists)
    leaving.close()
    (folder / "go on").touch()
    for _ in range(3):
        assert http.infer(model, ONE)["OUT"].shape == (1 << 18,)


def test_inputs_that_arrive_in_json_are_the_same(load: Load, server: TritonServer) -> None:
    """Core holds them in a buffer of its own making."""
    model = load(GOOD, identity_config("INT32", [-1, -1]))
    body = {"inputs": [{"name": "IN", "shape": [2, 2], "datatype": "INT32", "data": [[1, -2], [3, 4]]}]}
    request = urllib.request.Request(
        f"http://{server.http_url}/v2/models/{model}/infer", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        (output,) = json.loads(answer.read())["outputs"]
    assert output == {"name": "OUT", "datatype": "INT32", "shape": [2, 2], "data": [1, -2, 3, 4]}
