# Everything a newcomer or a developer runs. Each target may be repeated; once set up, setting up costs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARTS := $(wildcard plugins/*/pyproject.toml) $(wildcard examples/*/pyproject.toml)
# The reference plugin needs packages that cannot live beside today's: see `make reference`.
EDITABLE := $(foreach part,$(filter-out plugins/reference/%,$(PARTS)),-e $(dir $(part)))
# Two busy cores lose more to threads that wait by spinning than they gain.
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test test-slow lint fix types docs docs-check bench ray clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt $(PARTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "t2i needs Python 3.10 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt -e '.[data,show,train,dev]' $(EDITABLE)
	@touch $@

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m 'slow'

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/python docs/generate.py

docs-check: setup
	$(BIN)/python docs/generate.py --check

# Preparing data on a Ray cluster: daft and ray are too large for everyone.
ray: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt -e '.[ray]'

clean:
	rm -rf $(VENV) .venv-reference .pytest_cache .mypy_cache .ruff_cache

include plugins/reference/setup.mk
