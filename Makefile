# Each target stands alone on a machine that has Python 3.11 or newer with pip, and make.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin

.PHONY: train test test-thorough lint

train: $(VENV)/installed
	$(RUN)/functional-dl train configs/digits_mlp.toml

test: $(VENV)/installed
	JAX_PLATFORMS=cpu $(RUN)/python -m pytest -q -n 2 --dist worksteal

# What `make test` leaves out to stay under ten minutes: further variants of rules, functions and optimizers that it
# has a case of, marked `thorough` in the tests.
test-thorough: $(VENV)/installed
	JAX_PLATFORMS=cpu $(RUN)/python -m pytest -q -n 2 --dist worksteal -m thorough

lint: $(VENV)/installed
	$(RUN)/ruff check .
	$(RUN)/mypy
	JAX_PLATFORMS=cpu $(RUN)/python -m pytest -q tests/test_layers.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --editable '.[test,plots]'
	touch $@
