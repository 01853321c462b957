# make demo      the whole thing with no key and no network; prints a link
# make test      lint (prose too), types and tests
# make unit      the tests of one room: make unit ARGS=tests/plan
# make coverage  statements that no test executes, with a floor for the core
# make mutants   mistakes in the core that no test notices
# make soak      longer searches for what goes wrong rarely
# make compat    MLflow servers of every age, and the oldest client, installed below .compat
# make bench     what things cost, measured here
# make wheel     dist/ with the wheel and the source archive
# All make their own .venv and need only Python 3.11+, make and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv takes seconds where pip takes a minute: without one, pip installs it first. It does not read
# pip's settings, so that pip does the work where these replace PyPI, or where uv fails.
UV := $(shell command -v uv)
ifdef UV
MAKE_VENV = $(UV) venv --quiet --seed --allow-existing --python $(PYTHON) $(VENV)
else
UV := $(BIN)/uv
MAKE_VENV = $(PYTHON) -m venv $(VENV) && { $(BIN)/pip config list | grep -q '\.index-url\|no-index' || \
	$(BIN)/pip install --quiet --constraint config/constraints.txt uv 2>$(VENV)/uv.log || true; }
endif
INSTALL = @install() { \
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python "$$@" \
		2>>$(VENV)/uv.log || \
	$(BIN)/pip install --quiet "$$@"; }; \
	install --constraint config/constraints.txt
COMPAT ?= .compat
CORES := $(shell getconf _NPROCESSORS_ONLN)
# Three for two cores: many tests wait for processes and servers that they start, but each worker
# takes seven seconds of a core to import and collect everything, and for a process to fork from.
PARALLEL := -n $(shell expr $(CORES) \* 3 / 2) --dist worksteal
CORE := bridge/*.py,bridge/plan/*,bridge/sync/*,bridge/http/*,bridge/tracking/*
export MLFLOW_DISABLE_TELEMETRY := true
# pytest rewrites the asserts of all test files, which takes each worker five seconds unless Python
# may keep the result.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types unit coverage mutants soak compat bench picture wheel clean

demo: $(VENV)/demo.stamp
	$(BIN)/ftbridge demo $(ARGS)

# Types are checked while the tests run, and told after them.
test: lint
	@said=$$(mktemp); $(MAKE) --no-print-directory types >$$said 2>&1 & types=$$!; \
	$(MAKE) --no-print-directory unit; tests=$$?; \
	wait $$types; types=$$?; cat $$said; rm -f $$said; exit $$((tests | types))

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.prose

types: $(VENV)/dev.stamp
	$(BIN)/mypy

# A room is quicker in one process.
unit: $(VENV)/dev.stamp
	$(BIN)/pytest --durations=10 $(if $(ARGS),$(ARGS),$(PARALLEL))

coverage: $(VENV)/dev.stamp
	$(BIN)/pytest $(PARALLEL) --cov --cov-report= $(ARGS)
	$(BIN)/coverage report
	$(BIN)/coverage report --include='$(CORE)' --fail-under=98 --format=total

mutants: $(VENV)/dev.stamp
	$(BIN)/python -m tests.mutants $(ARGS)

$(VENV)/demo.stamp: pyproject.toml config/constraints.txt
	@$(MAKE_VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/dev.stamp: pyproject.toml config/constraints.txt
	@$(MAKE_VENV)
	$(INSTALL) --editable '.[dev]'
	touch $@ $(VENV)/demo.stamp

$(VENV)/soak.stamp: $(VENV)/dev.stamp
	$(INSTALL) --editable '.[dev,referees]'
	$(PYTHON) -m venv $(VENV)/prime
	$(VENV)/prime/bin/pip install --quiet prime==0.18.0  # a referee that wants an older typer
	touch $@

soak: $(VENV)/soak.stamp
	SOAK=1 EVERY_BOUNDARY=1 $(BIN)/pytest -n 2 -m "soak or long" $(ARGS)
	$(BIN)/python -m tests.compat $(COMPAT)

compat: $(VENV)/dev.stamp
	$(BIN)/python -m tests.compat $(COMPAT) $(ARGS)

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	$(INSTALL) --editable '.[dev,bench]'
	touch $@

bench: $(VENV)/bench.stamp
	$(BIN)/python -m tests.benchmarks $(ARGS)

picture: $(VENV)/dev.stamp
	$(BIN)/python -m tests.picture

wheel: $(VENV)/dev.stamp
	rm -rf dist
	$(BIN)/hatchling build --directory dist

clean:
	rm -rf $(VENV) demo dist .mutants
