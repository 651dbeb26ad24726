"""The script that starts a model's process, run as the backend runs it.

`_core` is replaced by a scripted peer: it greets when connected, then runs the Python that the test sends.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import triton_python_backend_utils as pb_utils

PACKAGE = Path(pb_utils.__file__).parent
WATCHDOG_S = 60

SCRIPTED_CORE = """
import json, socket, sys
__version__ = "scripted"
class Tensor: ...
class TritonError: ...
class InferenceRequest: ...
class InferenceResponse: ...
class Logger: ...
class MetricFamily: ...
class PreferredMemory: ...
class TritonModelException(Exception):
    __module__ = "c_python_backend_utils"
TritonInferenceException = TritonModelException
TRITONSERVER_MEMORY_GPU, TRITONSERVER_MEMORY_CPU = range(2)

def encode_bytes(array): ...
def decode_bytes(encoded): ...
def load_model(model_name): ...
def unload_model(model_name): ...
def is_model_ready(model_name): ...
def get_model_dir(): ...

def connect(fd):
    attachment = Attachment(fd)
    attachment.say({"numpy": "numpy" in sys.modules})
    return attachment

class Attachment:
    def __init__(self, fd):
        self.server = socket.socket(fileno=fd)

    def say(self, what):
        self.server.send(json.dumps(what).encode())

    def serve(self, loader):
        while True:
            code = self.server.recv(65536).decode()
            if not code:
                return
            exec(code, {"loader": loader, "say": self.say})

    def fail(self, text):
        self.say({"failed": text})
"""


class Stub(NamedTuple):
    process: subprocess.Popen[str]
    server: socket.socket

    def hear(self) -> bytes:
        return self.server.recv(65536)

    def ask(self, code: str) -> Any:
        """Run `code`, which calls `say` once, in the model's process."""
        self.server.send(code.encode())
        answer = self.hear()
        if not answer:
            pytest.fail(f"the process has ended:\n{self.process.communicate(timeout=WATCHDOG_S)[1]}")
        return json.loads(answer)

    def end(self) -> tuple[int, str, str]:
        self.server.shutdown(socket.SHUT_WR)
        out, err = self.process.communicate(timeout=WATCHDOG_S)
        return self.process.returncode, out, err


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    """A backend folder with the package and the scripted `_core`."""
    folder = tmp_path / "python"
    ignored = shutil.ignore_patterns("_core.*", "__pycache__")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=ignored)
    (folder / PACKAGE.name / "_core.py").write_text(SCRIPTED_CORE)
    return folder


@contextmanager
def started(
    backend: Path, *options: str, server_pid: int | None = None, extra_fd: int | None = None, **env: str
) -> Iterator[Stub]:
    """A model's process as the backend starts it, for a model named `m`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(WATCHDOG_S)
    script = str(backend / PACKAGE.name / "launch" / "stub_main.py")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.Popen(
        [sys.executable, *options, script, str(theirs.fileno()), "m", str(server_pid or os.getpid())],
        pass_fds=[theirs.fileno()] + ([] if extra_fd is None else [extra_fd]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=backend.parent,
        env={**inherited, **env},
    )
    theirs.close()
    with ours, process:
        try:
            yield Stub(process, ours)
        finally:
            process.kill()


@contextmanager
def serving(backend: Path, *options: str, **kwargs: Any) -> Iterator[Stub]:
    with started(backend, *options, **kwargs) as stub:
        assert "numpy" in json.loads(stub.hear())
        yield stub


def test_server_hears_from_us_before_numpy_is_imported(backend: Path) -> None:
    with started(backend) as stub:
        assert json.loads(stub.hear()) == {"numpy": False}


def test_ends_quietly_when_told_to_stop(backend: Path) -> None:
    with serving(backend) as stub:
        assert stub.end() == (0, "", "")


def test_package_is_ours_without_its_folder_on_the_path(backend: Path) -> None:
    with serving(backend) as stub:
        path, package, loader, native, version = stub.ask(
            "import sys, c_python_backend_utils as native, triton_python_backend_utils as pb_utils\n"
            "say([sys.path, pb_utils.__file__, loader.__name__, "
            "native is pb_utils._core and pb_utils.Tensor is native.Tensor, pb_utils.__version__])"
        )

    assert str(backend) not in path
    assert str(backend / PACKAGE.name / "launch") not in path
    assert package == str(backend / PACKAGE.name / "__init__.py")
    assert loader == "triton_python_backend_utils._model_loader"
    assert native is True
    assert version == "scripted"


def test_another_installed_package_of_that_name_is_not_taken(backend: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / PACKAGE.name
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise RuntimeError('not ours')")

    with serving(backend, PYTHONPATH=str(other.parent)) as stub:
        package = stub.ask("import triton_python_backend_utils as pb_utils; say(pb_utils.__file__)")

    assert package == str(backend / PACKAGE.name / "__init__.py")


def test_our_imports_do_not_come_from_the_current_folder(backend: Path) -> None:
    (backend.parent / "json.py").write_text("raise RuntimeError('not the library')")
    (backend.parent / "numpy.py").write_text("raise RuntimeError('not the library')")

    with serving(backend) as stub:
        assert stub.ask("say(1)") == 1


def test_looks_like_an_interpreter_without_a_script(backend: Path) -> None:
    with serving(backend) as stub:
        first, argv, main = stub.ask(
            "import sys, __main__ as main\n"
            "say([sys.path[0], sys.argv, [hasattr(main, '__file__'), main.__name__]])"
        )

    assert (first, argv, main) == ("", [""], [False, "__main__"])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P is newer than this Python")
def test_safe_path_keeps_the_current_folder_out(backend: Path) -> None:
    with serving(backend, "-P") as stub:
        assert "" not in stub.ask("import sys; say(sys.path)")


def test_inherited_descriptors_are_closed(backend: Path) -> None:
    readable, writable = os.pipe()
    try:
        with serving(backend, extra_fd=writable) as stub:
            os.close(writable)
            heir = stub.ask(
                "import os, sys\n"
                "say({name: os.get_inheritable(int(name)) for name in os.listdir('/proc/self/fd') "
                "if int(name) > 2 and os.path.exists('/proc/self/fd/' + name)"
                " and os.readlink('/proc/self/fd/' + name).startswith(('socket', 'pipe'))})"
            )
            ended, _, _ = select.select([readable], [], [], WATCHDOG_S)
            assert ended
            assert os.read(readable, 1) == b""
    finally:
        os.close(readable)

    assert list(heir.values()) == [False]


def test_output_lines_arrive_at_once(backend: Path) -> None:
    with serving(backend) as stub:
        stub.ask("import sys; print('out'); print('err', file=sys.stderr); say(None)")
        assert stub.process.stdout is not None
        assert stub.process.stderr is not None
        readable, _, _ = select.select([stub.process.stdout], [], [], WATCHDOG_S)
        assert readable
        assert stub.process.stdout.readline() == "out\n"
        assert stub.process.stderr.readline() == "err\n"


def test_model_is_killed_before_the_server_when_memory_runs_out(backend: Path) -> None:
    ours = int(Path("/proc/self/oom_score_adj").read_text())

    with serving(backend) as stub:
        score = int(Path(f"/proc/{stub.process.pid}/oom_score_adj").read_text())

    assert score == max(ours, 500)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_model_may_use_multiprocessing(backend: Path, tmp_path: Path, method: str) -> None:
    version = tmp_path / "repo" / "m" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(
        "import multiprocessing\nimport triton_python_backend_utils as pb_utils\n"
        "def square(x): return x * x\n"
        "def fail(x): raise pb_utils.TritonModelException('from the child')\n"
        "class TritonPythonModel:\n"
        "    def run(self, method):\n"
        "        with multiprocessing.get_context(method).Pool(1) as pool:\n"
        "            squares = pool.map(square, [2, 3])\n"
        "            try:\n"
        "                pool.map(fail, [1])\n"
        "            except pb_utils.TritonModelException as error:\n"
        "                return squares, str(error)\n"
    )

    with serving(backend) as stub:
        answers = stub.ask(
            f"model_class = loader.load_model_class({str(version / 'model.py')!r}, {str(version.parent)!r}, "
            f"'1', {str(backend)!r})\nsay(model_class().run({method!r}))"
        )
        ended = stub.end()

    assert answers == [[4, 9], "from the child"]
    assert ended == (0, "", "")


def test_python_without_our_compiled_part_is_told_to_the_server(backend: Path) -> None:
    (backend / PACKAGE.name / "_core.py").unlink()
    for tag in ("38", "399", "313t"):
        (backend / PACKAGE.name / f"_core.cpython-{tag}-x86_64-linux-gnu.so").touch()

    # -S: without the installation of the Python that runs the tests.
    with started(backend, "-S", XDG_CACHE_HOME=str(backend / "cache")) as stub:
        message = stub.hear()
        code, out, err = stub.end()

    text = message[8:].decode()
    assert message[:8] == b"TPBFAIL1"
    assert f"Python {sys.version.split()[0]} ({sys.executable}) cannot run models" in text
    assert "built for Python 3.13t and Python 3.8 and Python 3.99. " in text
    assert f"Install triton-python-backend in that environment ({sys.executable} -m pip install, from" in text
    assert f"(triton-python stub build --python {sys.executable})" in text
    assert "--backend-config=python,python-executable=PATH" in text
    assert (code, out, err) == (1, "", f"model 'm': {text}\n")


def test_compiled_part_that_does_not_load_is_told_to_the_server(backend: Path) -> None:
    (backend / PACKAGE.name / "_core.py").unlink()
    (backend / PACKAGE.name / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}").write_text("not a library")

    with started(backend) as stub:
        message = stub.hear()
        code, _, err = stub.end()

    assert message.startswith(b"TPBFAIL1Python ")
    assert b" cannot load the compiled part of triton-python-backend: " in message
    assert (code, err.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("numpy", "problem"),
    [
        ("raise ImportError('No module named numpy')", "cannot import numpy: No module named numpy. "),
        ("raise AttributeError('odd\\nlong story')", "cannot import numpy: odd. "),
        ("__version__ = '1.18.5'", "has numpy 1.18.5, which is too old. "),
    ],
)
def test_unusable_numpy_is_told_to_the_server(
    backend: Path, tmp_path: Path, numpy: str, problem: str
) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "numpy.py").write_text(numpy)

    with serving(backend, PYTHONPATH=str(folder)) as stub:
        text = json.loads(stub.hear())["failed"]
        code, out, err = stub.end()

    assert text.startswith(f"Python {sys.version.split()[0]} ({sys.executable}) {problem}")
    assert text.endswith(f"Install it with: {sys.executable} -m pip install 'numpy>=1.19'")
    assert (code, out, err) == (1, "", f"model 'm': {text}\n")


def test_broken_installation_is_told_to_the_server(backend: Path) -> None:
    (backend / PACKAGE.name / "_model_loader.py").write_text("raise RuntimeError('broken')")

    with serving(backend) as stub:
        text = json.loads(stub.hear())["failed"]

    assert text.endswith(f"cannot import {backend / PACKAGE.name}: RuntimeError('broken')")


def test_does_not_start_for_a_server_that_is_gone(backend: Path) -> None:
    with started(backend, server_pid=os.getppid()) as stub:
        heard = stub.hear()
        code, out, err = stub.end()

    assert heard == b""
    assert (code, out) == (1, "")
    assert err == (
        f"model 'm': its parent is process {os.getpid()} and not the server, process {os.getppid()}\n"
    )


def test_is_killed_with_the_server(backend: Path) -> None:
    script = backend / PACKAGE.name / "launch" / "stub_main.py"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    server_code = (
        "import os, subprocess, sys\n"
        f"command = [sys.executable, {str(script)!r}, '{fd}', 'm', str(os.getpid())]\n"
        f"subprocess.Popen(command, pass_fds=[{fd}]).wait()"
    )
    with ours, subprocess.Popen([sys.executable, "-c", server_code], pass_fds=[fd]) as server:
        theirs.close()
        ours.settimeout(WATCHDOG_S)
        assert json.loads(ours.recv(65536)) == {"numpy": False}
        ours.send(b"import os; say(os.getpid())")
        pid = json.loads(ours.recv(65536))
        ours.send(b"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); say(1); signal.pause()")
        assert json.loads(ours.recv(65536)) == 1

        server.kill()

        assert ours.recv(65536) == b"", f"process {pid} has outlived its server"


def test_signals_are_left_as_they_were(backend: Path) -> None:
    with serving(backend) as stub:
        stub.process.send_signal(signal.SIGTERM)
        code = stub.process.wait(timeout=WATCHDOG_S)

    assert code == -signal.SIGTERM


def test_wrong_arguments_are_refused(backend: Path) -> None:
    script = backend / PACKAGE.name / "launch" / "stub_main.py"

    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)

    assert result.returncode == 2
    assert result.stderr == f"usage: {script} <socket fd> <model name> <server pid> [<facts>]\n"
