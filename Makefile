# Classis. `make help` lists what there is; everything needs only Python >= 3.11, pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --quiet --root-user-action=ignore
TESTS  ?= tests
SIZES  ?= small medium
ROUNDS ?= 3

.DEFAULT_GOAL := help
.PHONY: help up doctor bench fuzz conformance test fault check format docs lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(VENV)/ready  ## start everything on this machine, with demo data; Ctrl-C stops it
	@exec $(BIN)/classis up

doctor: $(VENV)/ready  ## look at your installation (CLASSIS_POSTGRES_DSN=… CLASSIS_UPSTREAM=…) and say what is well
	@$(BIN)/classis doctor $(ARGS)

bench: $(VENV)/ready-bench  ## measure beside the real Prefect server (SIZES="small medium large", ARGS="--quick")
	$(BIN)/python -m bench --sizes $(SIZES) $(ARGS)

fuzz: $(VENV)/ready-fuzz  ## send 100,000 odd requests by HTTP and on the bus (ARGS="--requests 10000 --table FILE")
	$(BIN)/python -m tests.fuzz $(ARGS)

conformance: $(VENV)/ready-dev  ## compare with the real Prefect server, and print the counts
	$(BIN)/pytest tests/conformance -s

test: $(VENV)/ready-dev  ## all tests, on servers they start themselves (TESTS=tests/unit for some)
	$(BIN)/pytest $(TESTS)

fault: $(VENV)/ready-dev  ## break and stop things under load, ROUNDS=3 times each (ARGS="--record FILE" for the table)
	$(BIN)/pytest tests/fault -s --rounds $(ROUNDS) $(ARGS)

check: $(VENV)/ready-dev  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/ready-dev  ## put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/ready-dev  ## write from the code: docs/subjects.md, docs/openapi.json, deploy/indexes.sql, golden schemas …
	$(BIN)/classis subjects > docs/subjects.md
	$(BIN)/classis openapi > docs/openapi.json
	$(BIN)/classis doctor --indexes > deploy/indexes.sql
	$(BIN)/python -m tests.contract.golden
	cp deploy/nats.conf deploy/kubernetes/components/nats/nats.conf

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
         --custom-compile-command "make lock"
lock:  ## compile requirements/*.txt, with hashes (needs uv)
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) pyproject.toml requirements/up.in requirements/dev.in -o requirements/dev.txt
	$(LOCK) --constraints requirements/dev.txt pyproject.toml requirements/up.in -o requirements/up.txt
	$(LOCK) requirements/oracle.in -o requirements/oracle.txt
	$(LOCK) --constraints requirements/dev.txt requirements/bench.in -o requirements/bench.txt
	$(LOCK) --constraints requirements/dev.txt requirements/fuzz.in -o requirements/fuzz.txt

clean:  ## remove the environments; demo data stays
	rm -rf $(VENV) .venv-oracle

$(VENV)/ready: requirements/up.txt pyproject.toml
	@echo "making the environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Classis needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -m venv --without-pip $(VENV)
	@$(PIP) --require-hashes --no-deps -r requirements/up.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements/dev.txt
	@$(PIP) --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

$(VENV)/ready-bench: $(VENV)/ready-dev requirements/bench.txt
	@$(PIP) --require-hashes --no-deps -r requirements/bench.txt
	@touch $@

$(VENV)/ready-fuzz: $(VENV)/ready-dev requirements/fuzz.txt
	@$(PIP) --require-hashes --no-deps -r requirements/fuzz.txt
	@touch $@
