# The few commands everyone needs. `make test` and `make demo` set up by themselves.
.PHONY: help setup test test-postgresql lint bench bench-statistics torture load demo clean

BIN := .venv/bin

$(BIN)/calib: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

help:           ## list these commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

setup: $(BIN)/calib  ## make .venv with everything

test: setup     ## run the tests
	$(BIN)/pytest

test-postgresql: setup  ## run the tests with rows in a PostgreSQL server, started for them
	.ci/with-postgresql $(BIN)/pytest

lint: setup     ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: setup     ## simulate, calibrate, serve
	$(BIN)/monitor demo

bench: setup    ## print the benchmarks
	$(BIN)/python -m tests.bench

bench-statistics: setup  ## false alarms, faults caught and limits of detection, on 1000 nights: an hour
	$(BIN)/python -m tests.bench.statistics

# Another seed: make torture SEED=7
SEED ?= 1
torture: setup  ## kill runs, fill disks, spoil files, and compare with what was: ten minutes
	$(BIN)/python -m tests.torture.crashes --seed $(SEED)
	$(BIN)/python -m tests.torture.disk --seed $(SEED)
	$(BIN)/python -m tests.torture.fuzz --seed $(SEED)

load: setup     ## fifty readers while nights arrive, then a thousand who come and go: a quarter of an hour
	$(BIN)/python -m tests.torture.load

clean:          ## remove what setup and tests made
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
