# Needs python >= 3.11, make and the package index; makes everything else itself, in .venv.
# Every target works from a fresh clone.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run cluster test check fmt load bench simulate ablations faults cluster-proof fuzz clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
PYTEST_ARGS ?=
FUZZ ?= 2000
SEEDS ?= 1000
FAULTS ?= 200
SEED ?=
SHARED ?=
NODES ?= 3

# The libraries are enough to run; the project itself is linked in, so a changed file is live.
$(VENV)/.made:
	@python=$$(command -v python3.11 || command -v python3 || true); \
	test -n "$$python" || { echo "make: needs Python 3.11 or newer: found neither python3.11 nor python3" >&2; exit 1; }; \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: needs Python 3.11 or newer: $$python is $$("$$python" -V 2>&1)" >&2; exit 1; }; \
	if $(BIN)/python -c 'import pip' >/dev/null 2>&1; then exit 0; fi; \
	echo "make: creating $(VENV) with $$("$$python" -V)"; \
	"$$python" -m venv --clear $(VENV) || \
	  { echo "make: cannot create $(VENV) (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements/run.txt pyproject.toml
	@echo "make: installing what the engine needs to run (once, about a minute)"
	@$(PIP) install -r requirements/run.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "make: installing the tools of development (once, about a minute)"
	@$(PIP) install -r requirements/run.txt -r requirements/dev.txt
	@touch $@

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

run: $(VENV)/.run ## start a working system on 127.0.0.1:3001; its data stay in .wallet
	@exec $(BIN)/wallet up

cluster: $(VENV)/.run ## start NODES (3) nodes behind one port, with a database and leases of their own
	@exec $(BIN)/wallet up --nodes $(NODES)

test: $(VENV)/.dev ## run every test, with a real Postgres and Redis; PYTEST_ARGS adds options
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

check: $(VENV)/.dev ## format, lint, imports, types: changes nothing
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy

fmt: $(VENV)/.dev ## format, and mend what can be mended by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

load: $(VENV)/.dev ## put load on an engine of its own
	@$(BIN)/python -m wallet_loadtests

bench: $(VENV)/.dev ## measure the speed of the engine, as ratios within one run
	@$(BIN)/python -m wallet_loadtests bench

simulate: $(VENV)/.dev ## run SEEDS (1000) simulations; SHARED=1: with several nodes only; SEED=7 replays one, with its trace
	@PYTHONPATH=tests $(BIN)/python -m wallet_testing.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) $(if $(SHARED),--shared))

ablations: $(VENV)/.dev ## take each mechanism out of the engine, and see that the simulation notices
	@PYTHONPATH=tests $(BIN)/python -m wallet_testing.simulation --ablations

faults: $(VENV)/.dev ## hurt a node and its Postgres, FAULTS times (200), and count what was lost
	@PYTHONPATH=tests:loadtests $(BIN)/python -m wallet_testing.faults --faults $(FAULTS) $(if $(SEED),--seed $(SEED))

cluster-proof: $(VENV)/.dev ## three nodes killed, stopped, moved, without Redis: what clients see; half an hour
	@for proof in kills moves sleeps leases brains deadlines; do \
	  PYTHONPATH=tests:loadtests $(BIN)/python -m wallet_testing.cluster $$proof || exit 1; done
	@$(BIN)/python -m wallet_loadtests forwarded
	@PYTHONPATH=tests:loadtests $(BIN)/python -m wallet_testing.faults --nodes 3 --faults $(FAULTS) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.dev ## hostile input for long: FUZZ examples (2000) of each property, by SEED
	@WALLET_FUZZ_EXAMPLES=$(FUZZ) $(if $(SEED),WALLET_FUZZ_SEED=$(SEED)) $(BIN)/python -m pytest -s -p no:logging -p no:schemathesis -k http_hostile tests/integration $(PYTEST_ARGS)

clean: ## remove .venv and the caches; .wallet, the data of `make run`, stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	find config engine http loadtests persistence tests -name __pycache__ -type d -prune -exec rm -rf {} +
