# Two commands set everything up on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint types bench clean

# The stamp files say what is installed: the package alone, or the package with test tools.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install --constraint constraints.txt --editable .
	# An editable install is not compiled; without this each command would compile what it imports.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q omni_cli
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --group dev
	touch $@

demo: $(VENV)/.installed
	$(BIN)/omni demo

test: $(VENV)/.tools
	$(BIN)/python -m tests.parts

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.tools
	$(BIN)/mypy

bench: $(VENV)/.tools
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.routing

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
