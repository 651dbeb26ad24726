"""Model repositories in S3, here moto's server: core copies a model to this machine and serves the copy."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import config, write_model
from serving.server import TritonServer
from serving.types import StartServer

pytestmark = [pytest.mark.more, pytest.mark.s3]

BUCKET = "models-of-tests"
KEYS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "something",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
ONE = {"IN": np.array([1], np.int32)}
TELLING = """
import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils

from . import beside


class TritonPythonModel:
    def initialize(self, args):
        self.repository = args["model_repository"]

    def execute(self, requests):
        told = {
            "word": beside.WORD,
            "label": open(os.path.join(self.repository, "label.txt")).read(),
            "repository": self.repository,
            "model_dir": pb_utils.get_model_dir(),
            "file": __file__,
        }
        answer = np.array([json.dumps(told)], np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("ANSWER", answer)]) for _ in requests]
"""


class Bucket:
    """An empty bucket of a server of its own."""

    def __init__(self) -> None:
        import boto3
        from moto.server import ThreadedMotoServer

        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        self._moto.start()
        _, self._port = self._moto.get_host_and_port()
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._port}",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )
        self._client.create_bucket(Bucket=BUCKET)

    def close(self) -> None:
        self._client.close()
        self._moto.stop()

    def upload(self, folder: Path, prefix: str) -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                key = f"{prefix}/{file.relative_to(folder)}"
                self._client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())

    def url(self, prefix: str) -> str:
        return f"s3://http://127.0.0.1:{self._port}/{BUCKET}/{prefix}"


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    pytest.importorskip("moto", reason="moto is not installed: pip install 'moto[server]'")
    one = Bucket()
    yield one
    one.close()
    assert all(thread is threading.main_thread() or thread.daemon for thread in threading.enumerate())


def write_telling(folder: Path, word: str) -> None:
    text = config({"IN": ("INT32", [-1])}, {"ANSWER": ("STRING", [1])})
    model = write_model(folder, "m", TELLING, text)
    (model / "1" / "beside.py").write_text(f"WORD = {word!r}")
    (model / "label.txt").write_text(f"labelled {word}")


def told(server: TritonServer) -> dict[str, str]:
    with Client(server) as client:
        return dict(json.loads(client.infer("m", ONE)["ANSWER"].item()))


def test_a_model_is_served_from_a_local_copy(
    bucket: Bucket, start_server: StartServer, tmp_path: Path
) -> None:
    write_telling(tmp_path / "made", "first")
    bucket.upload(tmp_path / "made", "a/models")
    server = start_server(options=[f"--model-repository={bucket.url('a/models')}"], environment=KEYS)
    with Client(server) as client:
        client.load("m")

        heard = told(server)
        assert (heard["word"], heard["label"]) == ("first", "labelled first")
        local = Path(heard["repository"])
        assert local.is_absolute()
        assert (local / "config.pbtxt").is_file()
        assert (heard["model_dir"], heard["file"]) == (f"{local}/1", f"{local}/1/model.py")

        write_telling(tmp_path / "made", "second")
        bucket.upload(tmp_path / "made", "a/models")
        server.settle()
        client.load("m")
        heard = told(server)
        assert (heard["word"], heard["label"]) == ("second", "labelled second")


def test_errors_name_the_local_copy(bucket: Bucket, start_server: StartServer, tmp_path: Path) -> None:
    write_telling(tmp_path / "made", "first")
    (tmp_path / "made" / "m" / "1" / "beside.py").write_text("raise ValueError('from the bucket')")
    bucket.upload(tmp_path / "made", "models")
    server = start_server(options=[f"--model-repository={bucket.url('models')}"], environment=KEYS)
    with Client(server) as client:
        error = client.load_error("m")
    assert "ValueError: from the bucket\n\nAt:\n  /" in error
    assert "/1/beside.py(1): <module>" in error
