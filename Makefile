# The interface of this project; CI uses the same targets. `make help` lists them.
#   PYTHON=python3.12        the Python to build the environment with (default: the first fit one in PATH)
#   ARGS="--preset smoke"    arguments for `make run`, `make bench`, `make test` (pytest's) and `make test-fast`
#   UPGRADE=1                for `make lock`: newest versions that setup.py admits, not the ones in the lock
# Each counts on make's command line only (make setup PYTHON=...): node-gyp and others export variables of these names.

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup data browser run test test-fast faults store-test lint format bench nights schema flink-up flink-down flink-test lock doctor clean

override given = $(if $(filter command line,$(origin $1)),$(value $1))
override quoted = '$(subst ','\'',$1)'
override VENV_PYTHON := .venv/bin/python
# A missing or unfit Python ends the recipe with find_python.sh's line and status.
override HOST_PYTHON = python=$$(sh scripts/find_python.sh $(call quoted,$(call given,PYTHON))) || exit $$?; "$$python" -sE
override GIVEN_ARGS = $(if $(call given,ARGS),$(ARGS))
# Whoever names data of their own, or a file that may, needs no others.
override NAMED_DATA = $(IMAGE_PIPELINE_DATA_DIR)$(foreach word,--data-dir --config data_dir=,$(findstring $(word),$(GIVEN_ARGS)))
# What a shell set up for another Python would do to these programs; how they print and cache stays the caller's.
override OF_THE_CALLER := PYTHONUNBUFFERED PYTHONFAULTHANDLER PYTHONIOENCODING PYTHONUTF8 PYTHONDONTWRITEBYTECODE
unexport $(filter-out $(OF_THE_CALLER),$(filter PYTHON% PYTEST_% __PYVENV_LAUNCHER__,$(.VARIABLES)))
unexport KERAS_BACKEND TF_USE_LEGACY_KERAS KERAS_MAX_EPOCHS KERAS_MAX_STEPS_PER_EPOCH

help: ## list the targets
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv from requirements.lock (nothing to do: under 2 s)
	@$(HOST_PYTHON) -m scripts.setup_env $(if $(call given,PYTHON),--named)

data: ## put the Fashion-MNIST files into data/, checked
	@$(HOST_PYTHON) -m scripts.fetch_data

browser: setup ## find a Chromium, or fetch one into .venv, for the tests and the screenshots
	@$(HOST_PYTHON) -m scripts.browser

run: setup $(if $(strip $(NAMED_DATA)),,data) ## run the whole pipeline; ARGS="--preset smoke"
	@$(VENV_PYTHON) local_runner.py $(GIVEN_ARGS)

test: setup data ## the tests, whole runs on real images included, two files at a time
	@$(HOST_PYTHON) -m scripts.browser --for-tests
	@$(VENV_PYTHON) -m pytest -n 2 --dist loadfile -m "not faults and not store" $(GIVEN_ARGS)

test-fast: setup data ## the tests that don't run a whole pipeline
	@$(VENV_PYTHON) -m pytest -n 3 --dist loadfile -m "not slow" $(GIVEN_ARGS)

faults: setup data ## what takes many whole runs: kills, nights, models in every order
	@$(VENV_PYTHON) -m pytest -n 2 --dist load -m faults $(GIVEN_ARGS)

store-test: setup data ## the tests of a shared store; needs MariaDB's server, mariadbd
	@CI=true $(VENV_PYTHON) -m pytest -m store $(GIVEN_ARGS) tests/test_shared_store.py

lint: setup ## ruff's rules and its formatting
	@$(VENV_PYTHON) -m ruff check --output-format concise .
	@$(VENV_PYTHON) -m ruff format --check .

format: setup ## let ruff mend and format the code
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

bench: setup data ## measure; see benchmarks/
	@$(VENV_PYTHON) -m benchmarks $(GIVEN_ARGS)

nights: setup data ## thirty nights of spans, in minutes; docs/every-night.md; ARGS="--page FILE"
	@$(VENV_PYTHON) -m benchmarks.nights $(GIVEN_ARGS)

schema: setup ## write the schema that the latest run inferred beside the curated one; ARGS="--name NAME"
	@$(VENV_PYTHON) -m pipeline.propose_schema $(GIVEN_ARGS)

flink-up: setup ## start a small Flink cluster here, for --beam-runner flink; docs/scaling.md
	@$(HOST_PYTHON) -m scripts.flink up $(GIVEN_ARGS)

flink-down: ## end exactly that cluster
	@$(HOST_PYTHON) -m scripts.flink down

flink-test: setup data ## the tests on a Flink cluster of their own, where Java is: minutes
	@$(VENV_PYTHON) -m pytest tests/flink_cluster.py $(GIVEN_ARGS)

lock: ## remake requirements.lock from setup.py; UPGRADE=1
	@$(HOST_PYTHON) -m scripts.lock $(if $(call given,UPGRADE),--upgrade)

doctor: ## say what this machine and the environment have
	@$(HOST_PYTHON) -m scripts.doctor

clean: ## delete the environment and the caches, not the data or the runs
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
