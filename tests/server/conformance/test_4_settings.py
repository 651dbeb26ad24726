"""--backend-config=python,key=value: what is refused, with which words, and what is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving.client import Client
from serving.repository import identity_config, model_code, write_model
from serving.types import StartServer

GOOD = model_code("identity")
ONE = {"IN": np.array([1], np.float32)}

REFUSED = {
    ("shm-default-byte-size", "1048575"): "shm-default-byte-size can't be smaller than 4 MiBs",
    ("shm-default-byte-size", "0"): "shm-default-byte-size can't be smaller than 4 MiBs",
    ("shm-default-byte-size", "much"): "stol",
    ("shm-growth-byte-size", "0"): "shm-growth-byte-size can't be smaller than or equal to zero.",
    ("shm-growth-byte-size", "-1"): "shm-growth-byte-size can't be smaller than or equal to zero.",
    ("stub-timeout-seconds", "0"): "stub-timeout-seconds can't be smaller than or equal to zero.",
    ("stub-timeout-seconds", "soon"): "stol",
    ("thread-pool-size", "0"): "thread-pool-size can't be less than 1.",
    ("shm_message_queue_size", "some"): "stol",
}
OWN_REFUSED = {
    ("unload-timeout-seconds", "0"): "unload-timeout-seconds can't be smaller than or equal to zero.",
    ("shm-max-byte-size", "4194303"): "shm-max-byte-size can't be smaller than 4 MiBs",
    ("shm-total-max-byte-size", "1"): "shm-total-max-byte-size can't be smaller than 4 MiBs",
    ("shm-release-after-seconds", "-1"): "shm-release-after-seconds can't be smaller than zero.",
    ("stub-keeps-heap", "1"): "stub-keeps-heap must be 'true' or 'false', not '1'.",
}
UNKNOWN = {
    ("pyhton-executable", "/usr/bin/python3"): (
        "unknown setting 'pyhton-executable' in --backend-config=python,...: "
        "did you mean 'python-executable'?"
    ),
    ("shm-message-queue-size", "10"): (
        "unknown setting 'shm-message-queue-size' in --backend-config=python,...: "
        "did you mean 'shm_message_queue_size'?"
    ),
}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        *(pytest.param(*setting, text) for setting, text in REFUSED.items()),
        pytest.param(
            *("thread-pool-size", "99999999999999999999999", "stol"),
            marks=pytest.mark.differs("large-settings"),
        ),
        *(pytest.param(*setting, text, marks=pytest.mark.ours) for setting, text in OWN_REFUSED.items()),
        *(
            pytest.param(*setting, text, marks=pytest.mark.differs("unknown-settings"))
            for setting, text in UNKNOWN.items()
        ),
    ],
)
def test_a_wrong_setting_fails_the_load_with_its_words(
    start_server: StartServer, key: str, value: str, text: str
) -> None:
    """The server itself stays up, and goes on saying so."""
    server = start_server(settings={key: value})
    write_model(server.start.repository, "m", GOOD, identity_config())
    with Client(server) as client:
        for _ in range(2):
            error = client.load_error("m")
            assert f"{text};\n" in error
            assert "Invalid argument: " in error
        assert not client.raw.is_model_ready("m")
    assert server.is_live()
    assert not server.all_stubs()


SETTINGS = {
    "shm-default-byte-size": "1048576",
    "shm-growth-byte-size": "1",
    "stub-timeout-seconds": "60",
    "thread-pool-size": "1",
    # Text after a number has always been passed over.
    "shm_message_queue_size": "10entries",
}
OWN_SETTINGS = {
    "shm-max-byte-size": str(64 << 20),
    "shm-total-max-byte-size": str(1 << 30),
    "shm-release-after-seconds": "0",
    "stub-keeps-heap": "false",
    "unload-timeout-seconds": "60",
}


@pytest.mark.parametrize(
    "settings", [SETTINGS, pytest.param({**SETTINGS, **OWN_SETTINGS}, marks=pytest.mark.ours)]
)
def test_all_settings_at_once_are_taken(start_server: StartServer, settings: dict[str, str]) -> None:
    server = start_server(settings=settings, options=["--log-verbose=1"])
    write_model(server.start.repository, "m", GOOD, identity_config())
    with Client(server) as client:
        client.load("m")
        assert client.infer("m", ONE)["OUT"].tolist() == [1]
    assert (
        "Shared memory configuration is shm-default-byte-size=1048576,shm-growth-byte-size=1,"
        "stub-timeout-seconds=60"
    ) in server.log()


@pytest.mark.ours
def test_a_finalize_that_never_ends_is_ended_at_the_time_that_is_set(start_server: StartServer) -> None:
    server = start_server(settings={"unload-timeout-seconds": "1"})
    code = GOOD + "\n    def finalize(self):\n        import time\n\n        time.sleep(86400)\n"
    write_model(server.start.repository, "m", code, identity_config())
    with Client(server) as client:
        client.load("m")
        (stub,) = server.stubs()
        client.unload("m")
        assert not stub.alive


@pytest.mark.ours
def test_a_process_that_never_says_hello_is_ended_at_the_time_that_is_set(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Such as a python-executable that is no Python at all."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 86400\n")
    silent.chmod(0o755)
    server = start_server(settings={"stub-timeout-seconds": "1", "python-executable": str(silent)})
    write_model(server.start.repository, "m", GOOD, identity_config())
    with Client(server) as client:
        assert "is not healthy. It sent no message within 1 s" in client.load_error("m")
