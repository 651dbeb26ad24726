"""The classes that models use, tested inside a model: modules of tests/utils, in a process of the backend.

One model runs them with pytest when it is initialized, and writes down how each test ended; of each function
here is a test, and of each of its cases that ends differently with NVIDIA's backend.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from serving.client import Client
from serving.contender import Contender
from serving.repository import identity_config, write_model
from serving.server import Start, TritonServer
from tritonclient.utils import InferenceServerException

UTILS = Path(__file__).parents[2] / "utils"
MODULES = (
    "test_bytes.py",
    "test_dlpack_in.py",
    "test_dlpack_out.py",
    "test_dtypes.py",
    "test_logger.py",
    "test_lookup.py",
    "test_model_config.py",
    "test_names.py",
    "test_request.py",
    "test_response.py",
    "test_tensor.py",
    "test_text_arguments.py",
)
# About a Python without a server, or about another process.
LEFT_OUT = {
    "test_dlpack_in.py::test_forked_child_does_not_end_what_its_parent_borrowed",
    "test_logger.py::test_each_level_has_its_method",
    "test_logger.py::test_it_works_until_the_interpreter_has_ended",
    "test_logger.py::test_line_names_its_caller",
    "test_logger.py::test_log_takes_a_level",
    "test_logger.py::test_message_is_text_or_bytes",
    "test_logger.py::test_what_nobody_listens_to_is_filtered",
}


def differs(line: str, *tests: str) -> dict[str, pytest.MarkDecorator]:
    """By a line of docs/compatibility.md."""
    return {test: pytest.mark.differs(line) for test in tests}


def newer(release: str, *tests: str) -> dict[str, pytest.MarkDecorator]:
    return {test: pytest.mark.newer(release) for test in tests}


GAPS = "test_dlpack_in.py::test_array_with_gaps_or_in_another_order_is_refused"
OPTIONS = "test_dlpack_out.py::test_options_of_newer_consumers_are_accepted"
MARKS: dict[str, pytest.MarkDecorator] = {
    **differs("snapshot", "test_tensor.py::test_array_of_objects_is_not_looked_at_until_it_goes_out"),
    **differs("np-bytes", "test_bytes.py::test_bytes_of_other_kinds_are_taken_as_they_are"),
    **differs(
        "bytes-errors",
        "test_bytes.py::test_element_of_four_gib_is_refused",
        "test_bytes.py::test_incomplete_length_is_refused",
        "test_bytes.py::test_element_beyond_the_buffer_is_refused",
    ),
    **differs("changing-array", "test_bytes.py::test_array_that_an_element_changes_goes_out_as_it_was"),
    **differs("fixed-length-dtype", "test_dtypes.py::test_fixed_length_bytes_of_a_length_are_bytes"),
    **differs(
        "triton-dtype",
        "test_tensor.py::test_types_have_the_numbers_of_the_server",
        "test_dlpack_in.py::test_bfloat16_has_a_tensor_and_no_array",
    ),
    **differs(
        "correlation-id-bytes",
        "test_text_arguments.py::test_text_may_be_bytes[InferenceRequest.correlation_id]",
    ),
    **differs(
        "bytes-as-names",
        *(
            f"test_text_arguments.py::test_text_may_be_bytes[{function}]"
            for function in (
                "get_input_tensor_by_name",
                "get_output_tensor_by_name",
                "get_input_config_by_name",
                "get_output_config_by_name",
                "triton_string_to_numpy",
            )
        ),
    ),
    **differs(
        "missing-sections",
        "test_lookup.py::test_empty_transaction_policy_is_not_decoupled",
        "test_model_config.py::test_tensor_is_added_where_the_section_is_missing",
    ),
    **differs("add-input-copies", "test_model_config.py::test_new_tensor_is_a_copy"),
    **differs("numpy-dlpack", "test_dlpack_in.py::test_array_of_numpy_becomes_a_tensor_of_its_memory"),
    **differs(
        "array-and-capsule",
        "test_dlpack_in.py::test_capsule_may_be_given_itself",
        "test_dlpack_in.py::test_tensor_may_be_made_of_a_tensor",
        "test_dlpack_in.py::test_it_ends_once_with_the_last_of_tensor_arrays_and_capsules",
    ),
    **differs("static-from-dlpack", "test_dlpack_in.py::test_it_is_static"),
    **differs(
        "used-capsule",
        "test_dlpack_in.py::test_used_capsule_is_refused",
        "test_dlpack_in.py::test_our_capsule_can_be_used_once_too",
    ),
    **differs(
        "strided-dlpack",
        "test_dlpack_in.py::test_contiguous_array_is_taken[shape9-strides9]",
        *(f"{GAPS}[shape{i}-strides{i}]" for i in (0, 1, 2, 3, 5, 7)),
        "test_dlpack_in.py::test_contiguity_is_as_numpy_sees_it",
        *(
            f"test_dlpack_in.py::test_strided_array_of_numpy_is_refused[{kind}]"
            for kind in ("strided", "reversed")
        ),
    ),
    **differs(
        "wrong-capsules",
        "test_dlpack_in.py::test_producer_without_a_deleter_is_fine",
        "test_dlpack_in.py::test_impossible_shape_is_refused",
        "test_dlpack_in.py::test_elements_without_memory_are_refused",
        "test_dlpack_in.py::test_capsule_of_another_kind_is_refused",
        "test_dlpack_in.py::test_producer_needs_both_methods_and_has_to_give_a_capsule",
    ),
    **differs(
        "dlpack-versions",
        "test_dlpack_in.py::test_capsule_with_a_version_is_taken",
        "test_dlpack_in.py::test_capsule_of_an_unknown_version_is_refused",
        "test_dlpack_in.py::test_read_only_memory_stays_read_only",
        "test_dlpack_in.py::test_read_only_memory_that_has_no_array_yet_is_given_as_a_copy",
        f"{OPTIONS}[options3]",
        f"{OPTIONS}[options4]",
        "test_dlpack_out.py::test_copy_is_made_when_it_is_asked_for",
    ),
    **differs(
        "read-only-dlpack",
        "test_dlpack_out.py::test_read_only_array_is_given_as_a_copy",
        "test_dlpack_out.py::test_array_that_lost_its_order_is_given_as_a_copy",
    ),
    **differs("cuda-dlpack", "test_dlpack_in.py::test_array_elsewhere_is_refused[CUDA]"),
    **newer(
        "25.02",
        "test_response.py::test_response_without_parameters_has_an_empty_object_of_them",
        "test_response.py::test_response_with_an_error_has_no_parameters",
        "test_response.py::test_response_parameters_are_json",
        "test_response.py::test_response_refuses_other_parameters",
    ),
}

MODEL = """
import json
import os
import sys

sys.path += [UTILS, SITE_PACKAGES]  # behind all that this process has of its own
sys.dont_write_bytecode = True
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = FOLDER

import pytest


class Outcomes:
    def __init__(self):
        self.file = open(FOLDER + "/outcomes", "w")

    def write(self, test, outcome, text=""):
        print(json.dumps([test, outcome, text]), file=self.file, flush=True)

    def pytest_runtest_logstart(self, nodeid):
        self.write(nodeid, "begun and not ended")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self.write(report.nodeid, report.outcome, report.longreprtext)

    def pytest_collectreport(self, report):
        if not report.passed:
            self.write(report.nodeid, report.outcome, report.longreprtext)

    @pytest.fixture
    def both_codecs(self):
        "Here they are those that the process has."


class TritonPythonModel:
    def initialize(self, args):
        open(FOLDER + "/pytest.ini", "w").close()
        pytest.main(ARGUMENTS, plugins=[Outcomes()])

    def execute(self, requests):
        raise NotImplementedError
"""

Outcomes = dict[str, tuple[str, str]]
"""Test -> how it ended, and what it said."""


class Runs:
    """What was asked for of the tests, run by models of a server of their own."""

    def __init__(self, server: TritonServer, contender: Contender) -> None:
        self._server = server
        self._ours = contender.is_ours
        self._all: Outcomes | None = None

    def of(self, test: str) -> Outcomes:
        """With NVIDIA's backend what differs has a process for itself, which it may leave broken."""
        if test in MARKS and not self._ours:
            return self._run(f"alone_{list(MARKS).index(test)}", [test])
        if self._all is None:
            self._all = self._run("all", [*MODULES], [*LEFT_OUT] if self._ours else [*LEFT_OUT, *MARKS])
        return self._all

    def _run(self, name: str, tests: list[str], left_out: Sequence[str] = ()) -> Outcomes:
        folder = self._server.start.repository.parent / f"run_{name}"
        folder.mkdir()
        arguments = ["-c", f"{folder}/pytest.ini", f"--rootdir={UTILS}", "--noconftest"]
        arguments += ["-p", "no:cacheprovider", "--import-mode=importlib", "--capture=no", "-q", "--tb=short"]
        arguments += [f"--deselect={test}" for test in left_out]
        arguments += [f"{UTILS}/{test}" for test in tests]
        values: dict[str, Any] = {
            "FOLDER": str(folder),
            "UTILS": str(UTILS),
            "SITE_PACKAGES": str(Path(pytest.__file__).parents[1]),
            "ARGUMENTS": arguments,
        }
        code = "".join(f"{name} = {value!r}\n" for name, value in values.items()) + MODEL
        write_model(self._server.start.repository, name, code, identity_config("INT32"))
        with Client(self._server, "grpc") as client, suppress(InferenceServerException):
            client.load(name)  # what ended before the process did counts
        lines = (folder / "outcomes").read_text().splitlines()
        return {test: (outcome, text) for test, outcome, text in map(json.loads, lines)}


@pytest.fixture(scope="module")
def runs(
    triton_server_binary: Path, contender: Contender, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("classes")
    (folder / "models").mkdir()
    server = TritonServer(
        Start(
            binary=triton_server_binary,
            backend_dir=contender.directory,
            repository=folder / "models",
            log=folder / "server.log",
            environment=contender.environment,
            folder=folder,
        )
    )
    yield Runs(server, contender)
    if contender.is_ours:
        assert server.stop() == 0, server.log()
        server.wait_until_nothing_is_left()
    else:
        server.discard()


def functions() -> list[str]:
    return [
        f"{name}::{node.name}"
        for name in MODULES
        for node in ast.parse((UTILS / name).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def parameters() -> list[Any]:
    same = [one for one in functions() if one not in MARKS and one not in LEFT_OUT]
    return [*same, *(pytest.param(test, marks=mark) for test, mark in MARKS.items())]


@pytest.mark.parametrize("test", parameters())
def test_a_class_in_the_stub(runs: Runs, test: str) -> None:
    outcomes = runs.of(test)

    cases = {
        case: (outcome, text)
        for case, (outcome, text) in outcomes.items()
        if case == test or (case.startswith(f"{test}[") and case not in MARKS)
    }
    assert cases, f"{test} has not run: {outcomes.get(test.partition('::')[0])}"
    failed = {case: said for case, said in cases.items() if said[0] not in ("passed", "skipped")}
    assert not failed, "\n".join(f"{case}: {outcome}\n{text}" for case, (outcome, text) in failed.items())
