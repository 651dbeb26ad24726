"""A real server per module, whose models come and go with the tests, and a look at what they leave behind.

With `--backend upstream` it is a server per test: what one makes NVIDIA's backend do must not reach the next.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from _pytest.runner import runtestprotocol

# pytest imports these tests without touching sys.path; what they share is a package beside them.
sys.path.insert(0, str(Path(__file__).parent))

from serving.calls import ask
from serving.client import LOADED, PROTOCOLS, Client
from serving.contender import OURS, UPSTREAM, Contender, upstream
from serving.forks import held
from serving.repository import write_model
from serving.sanitized import reports, sanitized
from serving.server import Start, TritonServer
from serving.stream import Stream
from serving.types import Load, Settle, StartServer
from serving.waiting import wait_until

# What ends the server of NVIDIA's backend now and then while it loads or unloads a model on a busy machine.
THEIR_END = "boost::interprocess::lock_exception"


@pytest.fixture(scope="module")
def contender(request: pytest.FixtureRequest) -> Contender:
    """The backend under test. A module may put another folder for `backend_dir`."""
    if request.config.getoption("--backend") == UPSTREAM:
        return upstream()
    backend_dir: Path = request.getfixturevalue("backend_dir")
    library = request.config.getoption("--sanitized")
    if library is not None:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("sanitized")
        return sanitized(library, backend_dir, folder)
    return Contender(OURS, backend_dir)


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    """How the module's server differs from others; a module may define its own."""
    return {}


def _server_scope(fixture_name: str, config: pytest.Config) -> Literal["function", "module"]:
    return "function" if config.getoption("--backend") == UPSTREAM else "module"


@pytest.fixture(scope=_server_scope)
def server(
    triton_server_binary: Path,
    contender: Contender,
    tmp_path_factory: pytest.TempPathFactory,
    server_options: dict[str, Any],
    request: pytest.FixtureRequest,
) -> Iterator[TritonServer]:
    """The module's server; tests bring their models with `load`."""
    folder = tmp_path_factory.mktemp("server")
    one = _start(triton_server_binary, contender, folder, server_options)
    yield one
    if not contender.is_ours:
        _discard(one, request)
        return
    _stop(one, contender)


@pytest.fixture
def start_server(
    triton_server_binary: Path, contender: Contender, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[StartServer]:
    numbers = itertools.count()

    def start(**options: Any) -> TritonServer:
        folder = tmp_path / f"server{next(numbers)}"
        folder.mkdir()
        one = _start(triton_server_binary, contender, folder, options)
        ends.callback(end, one)
        return one

    def end(one: TritonServer) -> None:
        if not contender.is_ours:
            _discard(one, request)
            return
        _stop(one, contender, any_status=True)

    # Each is ended, whatever goes wrong with another.
    with ExitStack() as ends:
        yield start


@pytest.fixture
def repository(server: TritonServer) -> Path:
    return server.start.repository


@pytest.fixture
def model_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test of the module uses, fit for a folder and for tritonserver."""
    return "".join(letter if letter.isalnum() else "_" for letter in request.node.name).strip("_")


@pytest.fixture
def log_start(server: TritonServer) -> int:
    """Where this test's part of the log begins."""
    return len(server.log())


@pytest.fixture
def http(server: TritonServer) -> Iterator[Client]:
    with Client(server, "http") as client:
        yield client


@pytest.fixture(params=PROTOCOLS)
def client(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    """Runs the test once over HTTP and once over gRPC."""
    with Client(server, request.param) as one:
        yield one


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test with the module's server: its models are unloaded, and nothing of them is left."""
    if "server" not in request.fixturenames or request.config.getoption("--backend") == UPSTREAM:
        yield
        return
    server: TritonServer = request.getfixturevalue("server")
    log_before = len(server.log())
    yield
    try:
        assert server.is_live()
        with Client(server) as client:
            for entry in client.raw.get_model_repository_index():
                if entry.get("state") in LOADED:
                    client.unload(entry["name"])
        wait_until("the end of the stubs of unloaded models", lambda: not server.all_stubs())
        region = f"memfd:{server.region_prefix}"
        wait_until("the server to let go of its memory", lambda: not server.process.mentions(region))
        assert not server.shm_names()
    finally:
        request.node.add_report_section("teardown", "server log", server.log()[log_before:])


@pytest.fixture
def load(server: TritonServer, http: Client, model_name: str) -> Load:
    count = 0

    def write_and_load(code: str, config: str = "", **options: Any) -> str:
        nonlocal count
        name = model_name if count == 0 else f"{model_name}_{count + 1}"
        count += 1
        write_model(server.start.repository, name, code, config, **options)
        http.load(name)
        return name

    return write_and_load


@pytest.fixture
def stream(server: TritonServer) -> Iterator[Stream]:
    with Stream(server) as stream:
        yield stream


@pytest.fixture
def settle(server: TritonServer, http: Client) -> Iterator[Settle]:
    before: tuple[int, int] | None = None

    def hold(model: str, child: str, **told: Any) -> tuple[int, int]:
        nonlocal before
        ask(http, model, child=child, count=0, **told)
        before = held(server)
        return before

    yield hold
    assert before is not None
    wait_until(f"the server to hold no more than {before}", lambda: held(server) <= before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """With NVIDIA's backend: runs a test once more when it failed because their server ended by itself."""
    if item.config.getoption("--backend") != UPSTREAM:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    theirs = any(THEIR_END in text for report in reports for _, text in report.sections)
    if theirs and any(report.failed for report in reports):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows the server's log below a test that failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, TritonServer):
        report.sections.append(("server log (its end)", server.log()[-6000:]))


def _start(binary: Path, contender: Contender, folder: Path, options: dict[str, Any]) -> TritonServer:
    settings: dict[str, Any] = {"backend_dir": contender.directory, **options}
    repository = settings.pop("repository", None) or folder / "models"
    repository.mkdir(exist_ok=True)
    settings["environment"] = {**contender.environment, **settings.get("environment", {})}
    if not contender.is_ours:
        # Its stub imports what it finds in the working directory first.
        settings["folder"] = folder
    return TritonServer(Start(binary=binary, repository=repository, log=folder / "server.log", **settings))


def _stop(one: TritonServer, contender: Contender, any_status: bool = False) -> None:
    if contender.is_sanitized:
        # Its exit may hang: after strerror() under the sanitizer glibc counts a reader of the locale too few.
        assert reports(one.log()) == []
        one.discard()
    else:
        assert one.stop() == 0 or any_status, one.log()
    one.wait_until_nothing_is_left()


def _discard(one: TritonServer, request: pytest.FixtureRequest) -> None:
    """Ends a server with NVIDIA's backend; the test's report says with which words it had ended by itself."""
    if one.ended:
        request.node.add_report_section("teardown", "server log", one.log())
    one.discard()
