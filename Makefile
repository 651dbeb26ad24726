# The workbench. Everything is made in .venv/ and build/; the second run of a target needs no network.
#
#   make demo      make test      make lint      make bench      make help

PYTHON ?= python3
# More arguments for pytest or for the benchmarks: make test ARGS="-k serve -x", make bench ARGS="--only 64MB"
ARGS ?=
# Processes that `make test` spreads the test modules over; 0 for none, as a debugger wants it.
# One more than cores, because tests wait for servers for a good part of their time.
WORKERS ?= $(shell expr $(JOBS) + 1)

VENV := .venv
BIN := $(VENV)/bin
# How long `make fuzz` and `make soak` run.
MINUTES ?= 1
# Its compiler: clang++, or the newest clang++-N on PATH.
CLANG ?= $(or $(shell command -v clang++),$(lastword $(shell \
	for folder in $$(echo "$$PATH" | tr : ' '); do ls $$folder/clang++-[0-9]* 2>/dev/null; done | sort -V)))

# Stamps of what was installed live and die with the environment, those of what was built with build/.
INSTALLED := $(VENV)/stamps
BUILT := build/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# cmake and ninja come from PyPI, too.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# No run leaves anything outside .venv/ and build/.
export PYTHONDONTWRITEBYTECODE := 1
export RUFF_CACHE_DIR := $(CURDIR)/build/ruff
export MYPY_CACHE_DIR := $(CURDIR)/build/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/build/hypothesis

CXX_ROOMS := ipc triton_c_api backend stub
PYTHON_ROOMS := triton_python triton_python_backend_utils
# Folders count as sources as well: a file that is removed or renamed changes their date.
SOURCES := pyproject.toml CMakeLists.txt LICENSE README.md \
	$(shell find cmake $(CXX_ROOMS) $(PYTHON_ROOMS) -name __pycache__ -prune -o -print)
CXX_FILES = $(shell find $(CXX_ROOMS) benchmarks tests -name '*.cc' -o -name '*.h')
EXAMPLE_SCRIPTS = examples/run_demo.py $(wildcard examples/*/*client.py)
JOBS := $(shell nproc)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: demo test test-more soak bench lint format sanitize fuzz wheel clean help cpp-dev sanitize-asan sanitize-tsan sanitize-server

demo: $(INSTALLED)/demo ## serve the examples with a real server, run their clients over HTTP and gRPC
	$(BIN)/python examples/run_demo.py

test: $(INSTALLED)/test cpp-dev ## run the tests: C++, Python, and the real server
	ctest --preset dev
	$(BIN)/pytest tests -n $(WORKERS) --dist loadfile $(ARGS)

test-more: $(INSTALLED)/test $(INSTALLED)/s3 $(BUILT)/dist cpp-dev ## run the longer tests
	$(BIN)/pytest tests -m more -n $(JOBS) --dist loadfile $(ARGS)

soak: $(INSTALLED)/test ## kill, stop, load, unload and cancel under load for MINUTES; prints what came of it
	SOAK_MINUTES=$(MINUTES) $(BIN)/pytest tests/server/test_soak.py -m soak -k under_fire -q $(ARGS)

bench: $(INSTALLED)/bench build/dev/configured ## measure this backend beside NVIDIA's own and beside a mere copy (about 12 minutes)
	cmake --build --preset bench
	$(BIN)/python benchmarks/run.py $(ARGS)

lint: $(INSTALLED)/lint build/dev/configured ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PYTHON_ROOMS)
	@# One run each: several are called client.py.
	set -e; for script in $(EXAMPLE_SCRIPTS); do $(BIN)/mypy $$script; done
	$(BIN)/mypy benchmarks/run.py
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	find $(CXX_ROOMS) benchmarks -name '*.cc' -print0 | \
		xargs -0 -n 1 -P $(JOBS) $(BIN)/clang-tidy -p build/dev --quiet --warnings-as-errors='*'

format: $(INSTALLED)/lint ## format Python and C++ sources in place
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

sanitize: sanitize-asan sanitize-tsan ## run the C++ tests under the address, undefined-behaviour and thread sanitizers

sanitize-asan: build/asan/configured
	cmake --build --preset asan
	ctest --preset asan

sanitize-tsan: build/tsan/configured
	cmake --build --preset tsan
	@# Older thread sanitizers do not start under the address randomisation of newer kernels.
	if setarch "$$(uname -m)" -R true 2>/dev/null; then setarch "$$(uname -m)" -R ctest --preset tsan; \
	else ctest --preset tsan; fi

# What brings the backend into trouble; more with ARGS.
SANITIZED := test_hostile_stub.py test_bls_hostile.py test_deaths.py test_bls_deaths.py conformance/test_1_5_bls.py \
	conformance/test_1_7_decoupled.py conformance/test_1_12_metrics.py conformance/test_1_13_model_control.py

sanitize-server: $(INSTALLED)/test build/asan/configured ## run tests of the real server with the backend under ASan and UBSan
	cmake --build build/asan --target triton_python
	$(BIN)/pytest $(addprefix tests/server/,$(SANITIZED)) --sanitized build/asan/backend/libtriton_python.so $(ARGS)

fuzz: $(INSTALLED)/test build/fuzz/configured ## fuzz what reads a stub's messages, for MINUTES=1, with clang's libFuzzer
	cmake --build --preset fuzz
	@# Once, what a real stub says to a real server.
	test -d build/fuzz/recorded || $(BIN)/python tests/fuzz/record.py build/fuzz/recorded
	$(BIN)/python tests/fuzz/run.py build/fuzz --minutes $(MINUTES) \
		$(foreach tool,llvm-profdata llvm-cov,--tool $(tool)="$$($(CLANG) --print-prog-name=$(tool))") $(ARGS)

wheel: $(BUILT)/dist ## build sdist and wheel into build/dist/, for every Python here and for old systems
	@ls build/dist/*

clean: ## remove .venv/ and build/
	rm -rf $(VENV) build

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

# --- C++ builds beside the wheel ---

cpp-dev: build/dev/configured
	cmake --build --preset dev

# Not build.ninja itself: CMake writes that anew without the presets when a CMakeLists.txt changes.
build/%/configured: CMakePresets.json $(INSTALLED)/build-requirements
	cmake --preset $* --no-warn-unused-cli -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
		-Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	@touch $@

build/fuzz/configured: CMakePresets.json $(INSTALLED)/build-requirements
	@test -n "$(CLANG)" || { echo "missing: clang, whose libFuzzer this needs" >&2; \
		echo "    sudo apt install clang llvm    (or name one: make fuzz CLANG=/path/to/clang++)" >&2; exit 1; }
	cmake --preset fuzz --no-warn-unused-cli -DCMAKE_CXX_COMPILER="$(CLANG)"
	@touch $@

# --- the environment ---

$(BUILT)/prerequisites: scripts/check_prerequisites.sh
	@sh scripts/check_prerequisites.sh $(PYTHON)
	@mkdir -p $(@D) && touch $@

$(BIN)/python: | $(BUILT)/prerequisites
	$(PYTHON) -m venv $(VENV)

$(INSTALLED)/build-requirements: | $(BIN)/python
	@echo "installing what the build needs into $(VENV)/"
	$(PIP) install --upgrade pip
	$(PIP) install 'scikit-build-core>=0.10' 'pybind11>=2.13,<4' 'cmake>=3.22' ninja
	@mkdir -p $(@D) && touch $@

# The wheel that .venv/ gets, for its own Python alone: `make wheel` takes longer.
$(BUILT)/wheel: $(SOURCES) $(INSTALLED)/build-requirements
	@echo "building the wheel (one to a few minutes the first time)"
	@rm -rf build/quick
	$(PIP) wheel --no-deps --no-build-isolation --config-settings=build-dir=build/wheel \
		--config-settings=cmake.define.TPB_PYTHONS=own --wheel-dir build/quick .
	@mkdir -p $(@D) && touch $@

# The wheel for others. PyPI's zig links for an old glibc; auditwheel proves how old, and tags the wheel accordingly.
# `make wheel TOOLCHAIN=` takes the machine's own compiler, and its floor is what it is.
GLIBC := 2.17
TOOLCHAIN := cmake/zig.cmake
ZIG = $$($(BIN)/python -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name("zig"))')
FLOOR = manylinux_$(subst .,_,$(GLIBC))_$(shell uname -m)

$(BUILT)/dist: $(SOURCES) $(INSTALLED)/wheel
	@echo "building sdist and wheel (several minutes the first time)"
	@rm -rf build/dist build/plain
	$(BIN)/python -m build --sdist --no-isolation --outdir build/dist . >/dev/null
	TPB_ZIG="$(ZIG)" ZIG_GLOBAL_CACHE_DIR=$(CURDIR)/build/zig ZIG_LOCAL_CACHE_DIR=$(CURDIR)/build/zig \
		$(PIP) wheel --no-deps --no-build-isolation --config-settings=build-dir=build/full \
		$(if $(TOOLCHAIN),--config-settings=cmake.define.CMAKE_TOOLCHAIN_FILE=$(CURDIR)/$(TOOLCHAIN)) \
		$(if $(TOOLCHAIN),--config-settings=cmake.define.TPB_GLIBC=$(GLIBC)) --wheel-dir build/plain .
	$(BIN)/auditwheel repair --wheel-dir build/dist build/plain/*.whl
	$(BIN)/auditwheel show build/dist/*.whl
	$(if $(TOOLCHAIN),@$(BIN)/auditwheel show build/dist/*.whl | grep -q '"$(FLOOR)"' || \
		{ echo "the wheel needs a newer glibc than $(GLIBC); auditwheel show says above which symbols" >&2; exit 1; })
	@mkdir -p $(@D) && touch $@

# Without the network: what the project needs at run time comes with the first of the rules below.
$(INSTALLED)/project: $(BUILT)/wheel
	$(PIP) install --no-deps --force-reinstall build/quick/*.whl
	@mkdir -p $(@D) && touch $@

# One of the project's extras, and what the project itself needs. Again only when pyproject.toml changes.
$(INSTALLED)/demo $(INSTALLED)/test $(INSTALLED)/bench $(INSTALLED)/s3 $(INSTALLED)/wheel: $(INSTALLED)/%: pyproject.toml | $(INSTALLED)/project
	@echo "installing what 'make $*' needs into $(VENV)/"
	$(PIP) install "$$(ls build/quick/*.whl)[$*]"
	@touch $@

# mypy looks into the packages that the examples import.
$(INSTALLED)/lint: pyproject.toml | $(INSTALLED)/project
	@echo "installing what 'make lint' needs into $(VENV)/"
	$(PIP) install "$$(ls build/quick/*.whl)[lint,test]"
	@touch $@
