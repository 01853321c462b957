# make demo   the whole thing with no key and no network; prints a link
# make test   lint, types and tests
# make soak   longer looks for what goes wrong rarely
# make bench  what things cost, measured here
# Both make their own .venv and need only Python 3.11+, make and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LONG := $(patsubst %,tests/%.py,sync/test_state_machine sync/test_every_write sync/test_every_commit \
    daemon/test_signals sync/test_long_life tracking/test_servers bootstrap/test_dask)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test lint types unit soak bench picture clean

demo: $(VENV)/demo.stamp
	$(BIN)/ftbridge demo $(ARGS)

test: lint types unit

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

unit: $(VENV)/dev.stamp
	$(BIN)/pytest -n 3 --dist worksteal $(ARGS)

$(VENV)/demo.stamp: pyproject.toml config/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint config/constraints.txt --editable .
	touch $@

$(VENV)/dev.stamp: pyproject.toml config/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint config/constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/demo.stamp

soak: $(VENV)/dev.stamp
	SOAK=1 EVERY_BOUNDARY=1 $(BIN)/pytest -n 2 $(LONG) $(ARGS)

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(BIN)/pip install --quiet --constraint config/constraints.txt --editable '.[dev,bench]'
	touch $@

bench: $(VENV)/bench.stamp
	$(BIN)/python -m tests.benchmarks $(ARGS)

picture: $(VENV)/dev.stamp
	$(BIN)/python -m tests.picture

clean:
	rm -rf $(VENV) demo dist
