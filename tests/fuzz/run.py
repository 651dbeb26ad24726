"""Runs the fuzzers of `make fuzz` for a while, and says what they have reached.

Inputs that reach something new stay in <build>/corpus for the next run, what ends a fuzzer is put into
<build>/finds, and then the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Each with its share of the time.
FUZZERS = {"messages": 0.25, "conversation": 0.75}
# What reads the bytes of a stub.
DECODERS = (
    "ipc/messages.cc",
    "ipc/ask_messages.cc",
    "ipc/codec.cc",
    "ipc/bytes.cc",
    "ipc/dtype.cc",
    "ipc/ring.cc",
    "ipc/channel.cc",
    "ipc/handshake.cc",
    "ipc/preparation.cc",
    "ipc/socket.cc",
    "backend/conversation.cc",
    "backend/leases.cc",
    "backend/output.cc",
    "backend/payloads.h",
    "backend/respond.cc",
    "backend/responder.cc",
    "backend/responders.cc",
    "backend/bls/call.cc",
    "backend/bls/calls.cc",
    "backend/bls/answers.cc",
    "backend/control/asks.cc",
    "backend/control/metric_table.cc",
    "backend/control/metric_registry.cc",
    "backend/control/ready_check.cc",
    "backend/lines.cc",
    "backend/printable.cc",
)
LONGEST_INPUT = 4096
SECONDS_FOR_ONE_INPUT = 20
# One that makes the server allocate more at once has been found.
MOST_MEMORY_MB = 512


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument(
        "--tool", action="append", default=[], metavar="NAME=PATH", help="llvm's, for the coverage"
    )
    given = parser.parse_args()
    build: Path = given.build.resolve()
    tools = dict(tool.split("=", 1) for tool in given.tool)

    nowhere = {**os.environ, "LLVM_PROFILE_FILE": os.devnull}
    subprocess.run([build / "tests/fuzz/fuzz_seeds", build / "seeds"], check=True, env=nowhere)
    failed = [name for name, share in FUZZERS.items() if not fuzz(build, name, share * given.minutes * 60)]
    cover(build, tools)
    for name in failed:
        print(f"\nfuzz_{name} has found something: {build / 'finds'} has the input, the text is above.")
        print(f"again: {program(build, name)} {build / 'finds'}/<file>")
    return 1 if failed else 0


def program(build: Path, name: str) -> Path:
    return build / "tests/fuzz" / f"fuzz_{name}"


def profile(build: Path, name: str) -> Path:
    return build / f"{name}.profraw"


def fuzz(build: Path, name: str, seconds: float) -> bool:
    folders = [build / kind / name for kind in ("corpus", "seeds", "recorded")]
    folders[0].mkdir(parents=True, exist_ok=True)
    (build / "finds").mkdir(exist_ok=True)
    command = [
        program(build, name),
        *(folder for folder in folders if folder.exists()),
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={SECONDS_FOR_ONE_INPUT}",
        f"-malloc_limit_mb={MOST_MEMORY_MB}",
        f"-artifact_prefix={build / 'finds'}/{name}-",
    ]
    print(f"fuzz_{name}: {seconds:.0f} s", flush=True)
    environment = {**os.environ, "LLVM_PROFILE_FILE": str(profile(build, name))}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    lines = done.stderr.splitlines()
    if done.returncode != 0:
        print("\n".join(line for line in lines if not line.startswith("#")))
        return False
    reached = [line for line in lines if re.match(r"#\d+\s+(INITED|NEW|REDUCE|pulse|RELOAD|DONE)\b", line)]
    print("\n".join([*reached[-1:], *(line for line in lines if line.startswith("Done "))]), flush=True)
    return True


def cover(build: Path, tools: dict[str, str]) -> None:
    """Which lines of the decoders were reached, all fuzzers taken together."""
    profiles = [profile(build, name) for name in FUZZERS if profile(build, name).exists()]
    found = all(Path(tools.get(name, "")).is_file() for name in ("llvm-profdata", "llvm-cov"))
    if not profiles or not found:
        print("no coverage of lines: llvm-profdata and llvm-cov are not beside the compiler")
        return
    merged = build / "fuzz.profdata"
    subprocess.run([tools["llvm-profdata"], "merge", "-o", merged, *profiles], check=True)
    first, *others = (program(build, name) for name in FUZZERS)
    objects = [part for one in others for part in ("-object", one)]
    files = [ROOT / file for file in DECODERS]
    report = subprocess.run(
        [tools["llvm-cov"], "report", first, *objects, f"-instr-profile={merged}", *files],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Name, regions, functions, lines, branches: each total, missed, share.
    print("lines reached:")
    for line in report.splitlines():
        columns = line.split()
        if len(columns) >= 10 and columns[0] != "Filename":
            file, total, missed = columns[0].removeprefix(f"{ROOT}/"), int(columns[7]), int(columns[8])
            print(f"  {file:<40} {total - missed:>5} of {total:<5} {columns[9]:>8}")


if __name__ == "__main__":
    sys.exit(main())
