# The words to know: make demo, make test, make lint, make simulate, make bench, make kafka, make soak.
# Needs Linux, make and Python >= 3.11; all else goes into .venv. Another Python: make PYTHON=/path/to/python test

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# Runnable, new enough, and able to make a virtual environment: a name on the path alone proves none of these.
FIT := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(FIT)' >/dev/null 2>&1 && echo $$python && break; done)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test lint format simulate soak bench kafka clean

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 16

demo: $(VENV)/.installed ## run the storefront example: orders in, emails out, what fails retried or set aside
	@$(BIN)/headrace demo

# Files of tests side by side, as many as there are cores: most tests wait for processes. In one process: JOBS=0.
JOBS ?= auto
test: $(VENV)/.equipped ## run all tests; some of them: make test ARGS='tests/unit -k retry'
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(VENV)/.equipped ## check format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	@# The checker comes in the wheel, and with the [nodejs] extra so does the Node it runs on: nothing to download.
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright || { status=$$?; \
		[ $$status -eq 1 ] || echo "make lint: pyright itself failed (exit $$status), see above; if it tried to" \
			"download Node or npm packages, install it whole: $(BIN)/pip install 'pyright[nodejs]'" >&2; \
		exit $$status; }

format: $(VENV)/.equipped ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format

SEEDS ?= 0-999
simulate: $(VENV)/.equipped ## run the deterministic simulation; a seed again: make simulate SEEDS=17 (or 0-99,200)
	@PYTHONPATH=tests $(BIN)/python -m simulation $(SEEDS)

soak: $(VENV)/.equipped ## run the long forms of fault tests (over an hour); some: make soak ARGS='-k storm'
	@HEADRACE_SOAK=1 HEADRACE_REQUIRE_KAFKA=1 $(BIN)/python -m pytest -s \
		tests/fault/test_kafka_*.py tests/fault/test_memory.py tests/fault/test_sqlite_writers.py \
		tests/fault/test_dev.py $(ARGS)

# A venv of their own: one of the contenders wants an older pydantic than ours.
BENCH := $(VENV)/bench
bench: $(BENCH)/.equipped ## run the benchmarks (benchmarks/*.py; those that begin with _ are parts of others)
	@failed=; for benchmark in benchmarks/[!_]*.py; do \
		echo "== $$benchmark"; $(BENCH)/bin/python "$$benchmark" || failed="$$failed $$benchmark"; done; \
	[ -z "$$failed" ] || { echo "make bench: failed:$$failed" >&2; exit 1; }

PORT ?=
kafka: | $(BIN)/python ## start a Kafka broker to try things on, until Ctrl-C; its port: make kafka PORT=9092
	@PYTHONPATH=tests/support exec $(BIN)/python -m kafkaserver $(if $(PORT),--port $(PORT))

clean: ## remove what make made, the virtual environment too
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find headrace tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c '$(FIT)' >/dev/null 2>&1 || { \
		echo "headrace needs Python 3.11 or newer with its venv module; $(if $(PYTHON),$(PYTHON) is not,none is on the path)." \
			"Debian and Ubuntu: apt install python3 python3-venv. Another one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.equipped: pyproject.toml | $(BIN)/python
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable . --group dev
	@touch $@ $(VENV)/.installed

$(BENCH)/.equipped: PIP := $(BENCH)/bin/python -m pip --quiet --disable-pip-version-check
$(BENCH)/.equipped: pyproject.toml | $(BIN)/python
	$(BIN)/python -m venv $(BENCH)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable .
	@$(PIP) install --group bench && touch $@ || \
		echo "make bench: the contenders cannot be installed; what compares with them goes on without" >&2
