"""A server that may open no more files or map no more memory says what it cannot start, and all else goes on.

The limits are those of the real process, set from outside while it runs.
"""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.client import Client
from serving.repository import identity_config, model_code, write_model
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until
from tritonclient.utils import InferenceServerException

ONE = {"IN": np.array([1], np.int32)}
# More than the threads of an instance reserve, less than what its process would share with the server.
LITTLE_MEMORY = 256 << 20
FILES_ARE_MISSING = r"Too many open files|ulimit -n"
# Enough for any model to be loaded.
MANY_FILES = 40


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    # So that they do not wait half a minute because they have died often.
    return {"settings": {"stub-restart-max-deaths": "1000", "stub-restart-wait-seconds": "4"}}


@contextmanager
def limited(server: TritonServer, what: int, value: int) -> Iterator[None]:
    before = resource.prlimit(server.pid, what)
    resource.prlimit(server.pid, what, (value, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, what, before)


def free_descriptor(server: TritonServer) -> int:
    """The number that the next file would get."""
    used = server.process.descriptors()
    return next(number for number in range(len(used) + 1) if number not in used)


def mapped(server: TritonServer) -> int:
    """Bytes of its address space."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@pytest.fixture
def bystander(server: TritonServer, http: Client) -> Iterator[None]:
    write_model(server.start.repository, "bystander", model_code("identity"), identity_config("INT32"))
    http.load("bystander")
    (stub,) = server.stubs()
    yield
    assert http.infer("bystander", ONE)["OUT"].tolist() == [1]
    assert stub.alive, "the other model's process has been started anew"


def answers_again(http: Client, model: str) -> None:
    wait_until(f"'{model}' to answer again", lambda: answer(http, model) is None, seconds=60)


def answer(http: Client, model: str) -> str | None:
    """The error, if it is one."""
    try:
        assert http.infer(model, ONE)["OUT"].tolist() == [1]
    except InferenceServerException as error:
        return str(error.message())
    return None


def error_after_a_death(server: TritonServer, http: Client, model: str) -> str | None:
    """What a request is told whose process has just died; None where a new process answers it."""
    (victim,) = [stub for stub in server.stubs() if model in stub.command()]
    os.kill(victim.pid, signal.SIGKILL)
    wait_until("its end", lambda: not victim.alive)
    error = answer(http, model)
    assert http.infer("bystander", ONE)["OUT"].tolist() == [1]
    return error


@pytest.mark.usefixtures("bystander")
def test_a_load_without_descriptors_fails_and_the_next_one_works(
    server: TritonServer, http: Client, repository: Path, model_name: str
) -> None:
    write_model(repository, model_name, model_code("identity"), identity_config("INT32"))
    used, errors = len(server.process.descriptors()), []
    # The first ones are missing to Triton itself, the later ones to what the backend does, step by step.
    for more in range(MANY_FILES):
        with limited(server, resource.RLIMIT_NOFILE, free_descriptor(server) + more):
            try:
                http.load(model_name)
            except InferenceServerException as error:
                errors.append(str(error.message()))
                assert http.infer("bystander", ONE)["OUT"].tolist() == [1]
                continue
        break
    assert errors
    assert http.infer(model_name, ONE)["OUT"].tolist() == [1]
    assert any(re.search(FILES_ARE_MISSING, error) for error in errors), errors
    http.unload(model_name)
    wait_until(f"{used} descriptors to be left", lambda: len(server.process.descriptors()) <= used)


@pytest.mark.usefixtures("bystander")
def test_a_process_that_dies_when_no_descriptors_are_left_is_replaced_later(
    server: TritonServer, http: Client, load: Load
) -> None:
    model = load(model_code("identity"), identity_config("INT32"))
    with limited(server, resource.RLIMIT_NOFILE, 0):
        error = error_after_a_death(server, http, model)
    assert error is not None
    assert re.search(FILES_ARE_MISSING, error), error
    answers_again(http, model)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("left", [2, 4, 6])
def test_a_process_that_dies_when_few_descriptors_are_left_is_replaced(
    server: TritonServer, http: Client, load: Load, left: int
) -> None:
    model = load(model_code("identity"), identity_config("INT32"))
    # Whether those of the dead process are enough for the next one is chance.
    with limited(server, resource.RLIMIT_NOFILE, free_descriptor(server) + left):
        error = error_after_a_death(server, http, model)
    assert error is None or re.search(FILES_ARE_MISSING, error), error
    answers_again(http, model)


@pytest.mark.usefixtures("bystander")
def test_a_load_without_address_space_fails_and_the_next_one_works(
    server: TritonServer, http: Client, repository: Path, model_name: str
) -> None:
    write_model(repository, model_name, model_code("identity"), identity_config("INT32"))
    with limited(server, resource.RLIMIT_AS, mapped(server) + LITTLE_MEMORY):
        error = http.load_error(model_name)
        assert http.infer("bystander", ONE)["OUT"].tolist() == [1]
    assert "Cannot allocate memory" in error
    http.load(model_name)
    assert http.infer(model_name, ONE)["OUT"].tolist() == [1]


@pytest.mark.usefixtures("bystander")
def test_a_process_that_dies_when_no_address_space_is_left_is_replaced_later(
    server: TritonServer, http: Client, load: Load
) -> None:
    model = load(model_code("identity"), identity_config("INT32"))
    with limited(server, resource.RLIMIT_AS, mapped(server)):
        error = error_after_a_death(server, http, model)
        assert error is not None
        assert "Cannot allocate memory" in error
    answers_again(http, model)
