"""Names of models that a shell would read as something else: they are names like others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import identity_config, instance_group, model_code, write_model
from serving.server import TritonServer

ONE = {"IN": np.array([1], np.int32)}
NAMES = {
    "a list of commands": "model;exit 1|cat&",
    "a variable": "$HOME and ${HOME}",
    "another command": "$(exit 1)`exit 1`",
    "redirections": "<model>&1",
    "patterns": "*?[a-z]{a,b}~!",
    "quotes": 'it\'s a "model"\\',
    "a comment": "model #1",
}


# There the load waits for ever.
@pytest.mark.differs("shell-characters", run=False)
@pytest.mark.parametrize("what", NAMES)
def test_a_name_with_characters_of_a_shell(server: TritonServer, repository: Path, what: str) -> None:
    """By gRPC: HTTP clients encode such names, which a server of Triton 2.51 takes as they come."""
    name = NAMES[what]
    write_model(repository, name, model_code("identity"), identity_config("INT32", more=instance_group(2)))
    with Client(server, "grpc") as client:
        client.load(name)
        assert client.infer(name, ONE)["OUT"].tolist() == [1]
        client.unload(name)
