# The interface of this project; CI uses the same targets. `make help` lists them.
#   PYTHON=python3.12        the Python to build the environment with (default: the first fit one in PATH)
#   ARGS="--preset smoke"    arguments for `make run`, `make bench`, `make test` (pytest's) and `make test-fast`
#   UPGRADE=1                for `make lock`: newest versions that setup.py admits, not the ones in the lock

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup data browser run test test-fast lint format bench schema lock doctor clean

PYTHON ?=
ARGS ?=
VENV_PYTHON := .venv/bin/python
# A missing or unfit Python ends the recipe with find_python.sh's line and status.
HOST_PYTHON = python=$$(sh scripts/find_python.sh "$(PYTHON)") || exit $$?; "$$python"

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## make .venv from requirements.lock (nothing to do: under 2 s)
	@$(HOST_PYTHON) -m scripts.setup_env $(if $(PYTHON),--named)

data: ## put the Fashion-MNIST files into data/, checked
	@$(HOST_PYTHON) -m scripts.fetch_data

browser: setup ## find Chromium, or on Debian unpack it into .venv, for the tests and the screenshots
	@$(HOST_PYTHON) -m scripts.browser

run: setup data ## run the whole pipeline; ARGS="--preset smoke"
	@$(VENV_PYTHON) local_runner.py $(ARGS)

test: setup data browser ## all tests, on real images, two files at a time
	@$(VENV_PYTHON) -m pytest -n 2 --dist loadfile $(ARGS)

test-fast: setup data ## the tests that don't run a whole pipeline
	@$(VENV_PYTHON) -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

lint: setup ## ruff's rules and its formatting
	@$(VENV_PYTHON) -m ruff check --output-format concise .
	@$(VENV_PYTHON) -m ruff format --check .

format: setup ## let ruff mend and format the code
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

bench: setup data ## measure; see benchmarks/
	@$(VENV_PYTHON) -m benchmarks $(ARGS)

schema: setup ## write the schema that the latest run inferred beside the curated one; ARGS="--name NAME"
	@$(VENV_PYTHON) -m pipeline.propose_schema $(ARGS)

lock: ## remake requirements.lock from setup.py; UPGRADE=1
	@$(HOST_PYTHON) -m scripts.lock

doctor: ## say what this machine and the environment have
	@$(HOST_PYTHON) -m scripts.doctor

clean: ## delete the environment and the caches, not the data or the runs
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
