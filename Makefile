# Each target sets up what it needs: a virtual environment in .venv, from the ranges in pyproject.toml. Nothing is installed globally.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint types unit build check bench clean

help:
	@echo "make demo    the whole way on the embedded emulator: build, publish, import, deploy"
	@echo "make test    lint, types, tests: what CI runs"
	@echo "make build   render build/ from step_templates/"
	@echo "make check   every fault in specs, scripts and coordination files"
	@echo "make bench   speed, as ratios"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "octosteps needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/octosteps demo

build: $(READY)
	@$(BIN)/octosteps build

check: $(READY)
	@$(BIN)/octosteps check

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/pytest -n 2

test: lint types unit
	$(BIN)/octosteps check
	$(BIN)/octosteps build --check

bench: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .octosteps .mypy_cache .ruff_cache .pytest_cache
