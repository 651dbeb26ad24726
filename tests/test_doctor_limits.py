"""The doctor's checks of memory, descriptors and ports, under limits that the kernel really sets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND
from doctoring import Report, examine
from restricted import in_namespace, with_limit, without_powers

from triton_python import diagnose
from triton_python._doctor import limits

# Refuses one system call with EPERM, to itself and to what it becomes: as a container's seccomp profile does.
WITHOUT_MEMFD = """
import ctypes, os, struct, sys
MEMFD_CREATE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 319, 38, 22, 2
LOAD, EQUAL, RETURN, REFUSE, ALLOW = 0x20, 0x15, 0x06, 0x00050001, 0x7FFF0000
program = b"".join(struct.pack("HBBI", *step) for step in (
    (LOAD, 0, 0, 0), (EQUAL, 0, 1, MEMFD_CREATE), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)))
buffer = ctypes.create_string_buffer(program)
header = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, MODE_FILTER, header, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def the_server(monkeypatch: pytest.MonkeyPatch, triton_server_binary: Path) -> None:
    monkeypatch.setenv("TRITON_SERVER", str(triton_server_binary))


def limited(option: str, value: int) -> Report:
    return examine(command=with_limit(option, value, [COMMAND]))


# --- memory ---


def test_without_limits_the_machine_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CGROUP_LIMITS", ())
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")

    (found,) = [one for one in diagnose() if one.name == "memory"]

    assert found.status == "ok"
    source = "the memory of this machine" if machine < 64 << 30 else "the most that is taken by default"
    assert f"of shared memory (shm-max-byte-size), from {source}" in found.found


def test_a_limit_on_files_is_a_warning() -> None:
    report = limited("-f", 300 * 1024)  # in KiB

    assert report.exit_status == 0
    found = report["memory"]
    assert found.status == "warning"
    assert found.found == (
        "a model instance may use 300 MiB of shared memory (shm-max-byte-size), from RLIMIT_FSIZE"
    )
    assert "raise it (ulimit -f unlimited), or choose a size with" in found.advice
    assert "--backend-config=python,shm-max-byte-size" in found.advice


def test_a_limit_on_address_space_counts_half() -> None:
    found = limited("-v", 6 << 20)["memory"]  # in KiB

    assert found.status == "warning"
    assert "may use 3 GiB of shared memory (shm-max-byte-size), from half of RLIMIT_AS" in found.found
    assert "(ulimit -v unlimited)" in found.advice


def test_a_limit_that_leaves_too_little_is_a_failure() -> None:
    report = limited("-f", 3 * 1024)

    assert report.exit_status == 1
    found = report["memory"]
    assert found.status == "failed"
    assert "may use 3 MiB of shared memory" in found.found
    assert "at least 4 MiB are needed: raise RLIMIT_FSIZE (ulimit -f unlimited)" in found.advice


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "536870912\n",
            "may use 512 MiB of shared memory (shm-max-byte-size), from the control group's limit",
        ),
        ("1610612736\n", "may use 1.5 GiB of shared memory"),
        ("max\n", "from the memory of this machine"),
    ],
)
def test_the_limit_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(limits, "CGROUP_LIMITS", (tmp_path / "memory.max", tmp_path / "absent"))
    monkeypatch.setattr(limits, "MOST_BY_DEFAULT", 1 << 50)

    (found,) = [one for one in diagnose() if one.name == "memory"]

    assert told in found.found
    assert found.status == "ok"


def test_the_limit_of_a_container_is_read_where_the_kernel_shows_it(tmp_path: Path) -> None:
    there = [file for file in limits.CGROUP_LIMITS if file.exists()]
    if not there:
        pytest.skip("this machine shows no limit of a control group")
    (tmp_path / "limit").write_text(f"{256 << 20}\n")

    result = in_namespace(f"mount --bind {tmp_path}/limit {there[0]} || exit 77\n{COMMAND} doctor || true")
    if result.returncode == 77:
        pytest.skip("this machine does not let the test mount a file over the limit")

    assert (
        f"may use 256 MiB of shared memory (shm-max-byte-size), from the control group's limit ({there[0]})"
        in (result.stdout)
    )


# --- memfd ---


@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the filter names the system call's number on x86-64"
)
def test_a_container_that_forbids_memfd_is_told() -> None:
    report = examine(command=(sys.executable, "-c", WITHOUT_MEMFD, COMMAND))

    assert report.exit_status == 1
    found = report["memfd"]
    assert found.status == "failed"
    assert "memfd_create is refused: Operation not permitted" in found.found
    assert "allow memfd_create in the container's seccomp profile" in found.advice


def test_kernels_that_do_not_know_the_flag_are_asked_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, flags: int) -> int:
        if flags & 8:
            raise OSError(22, "Invalid argument")
        return original(name, flags)

    original = os.memfd_create
    monkeypatch.setattr(os, "memfd_create", create)

    (found,) = [one for one in diagnose() if one.name == "memfd"]

    assert found.status == "ok"
    assert "nothing is needed in /dev/shm" in found.found


def test_a_kernel_that_demands_the_flag_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memfd_noexec").write_text("2\n")
    monkeypatch.setattr(limits, "NOEXEC_SETTING", tmp_path / "memfd_noexec")

    (found,) = [one for one in diagnose() if one.name == "memfd"]

    assert "(vm.memfd_noexec=2)" in found.found


# --- descriptors ---


def test_few_descriptors_are_a_warning() -> None:
    found = limited("-n", 256)["descriptors"]

    assert found.status == "warning"
    assert found.found == "256 open files: room for about 24 model instances and clients"
    assert found.advice == "raise the limit where the server starts: ulimit -n 4096"


def test_too_few_descriptors_are_a_failure() -> None:
    report = limited("-n", 64)

    assert report.exit_status == 1
    assert report["descriptors"].status == "failed"


def test_enough_descriptors_are_fine() -> None:
    found = limited("-n", 1024)["descriptors"]

    assert (found.status, found.advice) == ("ok", "")


# --- ports ---


def listening() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


@pytest.mark.parametrize("service", ["http", "grpc", "metrics"])
def test_a_port_that_is_taken_is_told_with_who_has_it(service: str) -> None:
    with listening() as taken:
        port = taken.getsockname()[1]
        report = examine(f"--{service}-port={port}")

    assert report.exit_status == 1
    found = report["ports"]
    assert found.status == "failed"
    holder = f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
    assert found.found == f"the address 127.0.0.1:{port} is already in use by {holder}"
    assert found.advice == (
        f"stop the program that listens there, or choose another port with --{service}-port"
    )


def test_all_ports_that_are_taken_are_told() -> None:
    with listening() as one, listening() as other:
        ports = [one.getsockname()[1], other.getsockname()[1]]
        found = examine(f"--http-port={ports[0]}", f"--grpc-port={ports[1]}")["ports"]

    assert all(f"127.0.0.1:{port} is already in use" in found.found for port in ports)
    assert (
        "with --http-port; stop the program that listens there, or choose another port with --grpc"
        in found.advice
    )


def test_an_address_of_another_machine_is_told() -> None:
    found = examine("--host=192.0.2.1")["ports"]

    assert found.status == "failed"
    assert "this machine has no address 192.0.2.1" in found.found
    assert "choose one of its own" in found.advice


def test_a_port_for_root_alone_is_told() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("this machine lets everybody use every port")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 80))
        except OSError as error:
            if error.errno == 98:
                pytest.skip("something listens on port 80 here")

    found = examine("--http-port=80", command=without_powers([COMMAND]))["ports"]

    assert found.status == "failed"
    assert "HTTP is not permitted to listen on 127.0.0.1:80" in found.found
    assert "choose a port from 1024 up with --http-port" in found.advice


def test_the_ports_of_the_server_are_looked_at_by_default() -> None:
    result = subprocess.run([COMMAND, "doctor"], capture_output=True, text=True, check=False)

    (line,) = [line for line in result.stdout.splitlines() if line.split()[1:2] == ["ports"]]
    assert "0.0.0.0:8000" in line


def test_connections_that_linger_are_in_nobodys_way() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = server.accept()
            served.close()  # this end closes first, and so waits
            client.recv(1)

    assert examine(f"--http-port={port}")["ports"].status == "ok"
