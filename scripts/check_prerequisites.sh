#!/bin/sh
# Names everything that the build needs and this machine lacks, each with the command that installs it.
# Usage: check_prerequisites.sh [PYTHON]; exit status 1 when something is missing.
set -u

python=${1:-python3}
missing=0

lacks() {
  echo "missing: $1" >&2
  echo "    $2" >&2
  missing=1
}

command -v make >/dev/null 2>&1 || lacks "make" "sudo apt install make"

if ! command -v "$python" >/dev/null 2>&1; then
  lacks "Python ($python)" "sudo apt install python3 python3-venv python3-dev"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
  lacks "Python 3.9 or newer: $python is $("$python" -V 2>&1)" \
    "name a newer one with: make PYTHON=/path/to/python3"
else
  # Debian's own python3 comes without these two; each is a package of its own.
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    lacks "the venv module of $python" "sudo apt install python3-venv"
  "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
    lacks "the headers of $python (Python.h)" "sudo apt install python3-dev"
fi

compiler=${CXX:-c++}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
cat > "$scratch/probe.cc" <<'PROBE'
#include <atomic>
#include <span>
int main() {
  int values[2] = {0, 1};
  std::atomic<int> first{std::span<int>(values)[0]};
  return first.load();
}
PROBE
if ! command -v "$compiler" >/dev/null 2>&1; then
  lacks "a C++ compiler ($compiler)" "sudo apt install g++"
elif ! "$compiler" -std=c++20 -o "$scratch/probe" "$scratch/probe.cc" 2>"$scratch/errors"; then
  sed 's/^/    /' "$scratch/errors" | head -n 5 >&2
  lacks "a C++20 compiler and its library: $compiler cannot build C++20 (g++ 11 or newer can)" \
    "sudo apt install g++"
fi

# The server that can be fetched; with a server of one's own neither matters.
if [ -z "${TRITON_SERVER:-}" ] && [ ! -x /opt/tritonserver/bin/tritonserver ]; then
  own="set TRITON_SERVER to a tritonserver that runs here"
  machine=$(uname -m)
  [ "$machine" = x86_64 ] ||
    lacks "x86-64: the Triton server that can be fetched is built for it, this machine is $machine" "$own"
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
  newest=$(printf '%s\n2.35\n' "${glibc:-0}" | sort -V | tail -n 1)
  [ "$newest" = "${glibc:-0}" ] ||
    lacks "glibc 2.35 (Debian 12, Ubuntu 22.04): the Triton server that can be fetched needs it, here is ${glibc:-another C library}" \
      "$own"
fi

exit "$missing"
