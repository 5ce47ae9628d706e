# From a fresh clone, with nothing but Python 3.11 or newer and make:  make demo,  make test.
PYTHON ?= python3
# Optional dependencies to install; on a machine with a GPU: make EXTRAS=gpu,docs,test ...
EXTRAS ?= cpu,docs,test

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := .venv/installed-$(EXTRAS)
TYPING := .typing/idsnn_convert

.DEFAULT_GOAL := help
.PHONY: help demo faults fuzz test lint type unit docs format constraints clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(INSTALLED) examples/demo.sh ## convert the example teacher and run the result
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: lint type unit docs ## everything that must pass: lint, types, tests, manual

lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

type: $(INSTALLED) ## mypy, strict
	@rm -rf .typing && mkdir -p $(TYPING)
	@ln -s "$(CURDIR)"/idsnn_convert/* "$(CURDIR)/passes" "$(CURDIR)/runtime" $(TYPING) && ln -s "$(CURDIR)/tests" .typing
	$(BIN)/mypy .typing/idsnn_convert .typing/tests

unit: $(INSTALLED) ## pytest; choose with: make unit TESTS="-k neuron"
	$(BIN)/python -m pytest $(TESTS)

faults: $(INSTALLED) ## kill conversions and runs, fill disks, turn bits: half an hour; less with: make faults FAULTS="--kills 20"
	PYTHONPATH=. $(BIN)/python benchmarks/faults.py $(FAULTS)

docs: $(INSTALLED) ## the manual, into build/docs; a warning fails it
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Open build/docs/index.html"

# Structure-aware mutation of every kind of input; a finding is told by its kind and seed.
fuzz: $(INSTALLED) ## feed mutated inputs to the commands: make fuzz MINUTES=10
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10)

format: $(INSTALLED) ## mend what ruff can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# uv keeps every pin that stands in the file and adds what is missing.
constraints: $(INSTALLED) ## write constraints.txt anew; renew pins with: make constraints UPGRADE="ruff mypy"
	@$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --all-extras --no-annotate \
	  --custom-compile-command "make constraints" $(UPGRADE:%=--upgrade-package %) --output-file constraints.txt pyproject.toml

clean: ## remove everything that make made
	rm -rf .venv .typing .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Empty file whose age says when the environment was last in step with what it is made from.
$(INSTALLED): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "idsnn-convert needs Python 3.11 or newer, but \
	$(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv; the first time this takes a few minutes."
	@$(PIP) install --quiet --no-compile --constraint constraints.txt setuptools
	@$(PIP) install --quiet --no-compile --constraint constraints.txt --no-build-isolation --editable '.[$(EXTRAS)]'
	@rm -f .venv/installed-* && touch $@
