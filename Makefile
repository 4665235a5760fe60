# Two commands set everything up on a fresh machine: make demo, make test. `make help` tells all.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint types format bench catalogue record nightly dist docs fuzz clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

# The stamp files say what is installed: the package alone, what checks it, what quick tests need
# as well, or all of it. Each is a group of pyproject.toml.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(INSTALL) --editable .
	# An editable install is not compiled; without this each command would compile what it imports.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q omni_cli
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(INSTALL) --group lint
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(INSTALL) --group test
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(INSTALL) --group dev
	touch $@ $(VENV)/.lint $(VENV)/.test

demo: $(VENV)/.installed ## show the main job on simulated providers; needs no key
	$(BIN)/omni demo

test: $(VENV)/.tools ## all tests, in parts beside each other
	$(BIN)/python -m tests.parts

quick: lint types $(VENV)/.test ## lint, types and unit tests: what to run before a commit
	$(BIN)/python -m tests.parts --quick

lint: $(VENV)/.lint ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.lint ## mypy, strict
	$(BIN)/mypy

format: $(VENV)/.lint ## put imports and layout right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.tools ## start-up and routing, as ratios within one run
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.routing

catalogue: $(VENV)/.tools ## the bundled prices and priors from their sources
	$(BIN)/python -m tools.catalogue
	$(BIN)/python -m tools.priors

record: $(VENV)/.tools ## keep what a real client sends as a fixture: make record CLIENT=openai-node
	$(BIN)/python -m tests.clients.nightly --record --only $(CLIENT)

nightly: $(VENV)/.tools ## the newest of every real client, and what changed in what they send
	$(BIN)/python -m tests.clients.nightly

dist: $(VENV)/.test ## wheel, sdist and bill of materials in dist/, installed and run on each Python
	$(BIN)/python -m tools.dist check
	$(BIN)/python -m tools.dist build
	$(BIN)/python -m tools.dist try

docs: $(VENV)/.tools ## the pages as a site in dist/site; a dead link fails
	$(BIN)/python -m tools.settings --check
	$(BIN)/python -m mkdocs build --quiet --strict -f tools/mkdocs.yml

fuzz: $(VENV)/.tools ## mutated requests and answers through the whole gateway, for long
	$(BIN)/python -m benchmarks.gateway_fuzz

clean: ## forget the environment and all caches
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
