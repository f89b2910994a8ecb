# One file for everyone: the same targets locally and in CI.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: help setup demo up test check bench lock clean
help:            ## show the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: [^#]*##/\t/' | expand -t 12

# uv installs from the hashed lock in seconds where pip takes a minute; pip brings uv itself, by hash.
$(STAMP): requirements.lock infra/bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "promptyard needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python -m venv failed: on Debian or Ubuntu, apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes -r infra/bootstrap.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP)  ## create the virtual environment

demo: setup      ## play a prompt's whole life on embedded defaults
	$(BIN)/promptyard demo $(ARGS)

up: setup        ## start the local stack; Ctrl-C stops it
	$(BIN)/promptyard up $(ARGS)

test: setup      ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: setup     ## linters, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup     ## measure for about an hour; ARGS=hot (or another part; ARGS=--help names them): one part
	$(BIN)/python -m tests.bench $(ARGS)

lock:            ## pin again from pyproject.toml (needs uv on the PATH)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --all-extras --output-file requirements.lock pyproject.toml infra/build.in
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --output-file infra/bootstrap.lock infra/bootstrap.in

clean:           ## remove the environment and local state
	rm -rf $(VENV) .promptyard build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
