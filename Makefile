PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

# The tests start hundreds of interpreters, which would each compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

ifdef HOST
export TAKHIN_HOST := $(HOST)
endif
ifdef PORT
export TAKHIN_PORT := $(PORT)
endif
ifdef DATA_DIR
export TAKHIN_DATA_DIR := $(DATA_DIR)
endif

.PHONY: help run kafka test test-external test-kafka test-postgres test-abuse test-chaos chaos mutants lint format docs bench profile requirements clean

# On a loopback address no keys are required, unless the environment or .env sets the address or requires keys.
ifeq ($(shell grep -Es '^ *(export )?TAKHIN_(HOST|REQUIRE_API_KEY)=' .env),)
run: export TAKHIN_REQUIRE_API_KEY ?= $(if $(filter-out 127.0.0.1 ::1 localhost,$(TAKHIN_HOST)),true,false)
endif
run: $(VENV)/.run ## serve on 127.0.0.1:8080 with a demo topic (PORT=, HOST=, DATA_DIR=)
	@$(BIN)/python manage.py serve --demo

kafka: $(VENV)/.dev ## start a development broker on 127.0.0.1:9092
	@$(BIN)/python -m devservers.kafka

test: $(VENV)/.dev ## run the tests (ARGS= for pytest)
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-external: $(VENV)/.dev ## run the tests that need a browser, npm, Prometheus, or packages to install
	$(BIN)/python -m pytest -m external $(PARALLEL) $(ARGS)

test-kafka: $(VENV)/.dev ## run the tests that need brokers
	$(BIN)/python -m pytest -m kafka -n 3 --dist loadfile $(ARGS)

test-postgres: $(VENV)/.dev ## run the tests of what uses the database on a private PostgreSQL
	$(BIN)/python -m tests.postgres $(PARALLEL) $(ARGS)

test-abuse: $(VENV)/.dev ## attack a server and measure what its other clients see
	$(BIN)/python -m pytest -m abuse -s $(ARGS)

test-chaos: $(VENV)/.dev ## kill servers at a sample of points and moments, and check that nothing is lost or duplicated
	$(BIN)/python -m pytest -m chaos -n 4 --dist load --maxschedchunk 1 $(ARGS) tests/chaos

chaos: $(VENV)/.dev ## the same at every point, and many times
	CHAOS=full $(BIN)/python -m pytest -m chaos -n 4 --dist load --maxschedchunk 1 $(ARGS) tests/chaos

MUTANTS_MINUTES ?= 60
mutants: $(VENV)/.dev ## change the code in many ways, and see which changes the tests notice (MUTANTS_MINUTES=60)
	-timeout --foreground $(MUTANTS_MINUTES)m $(BIN)/mutmut run --max-children 6
	@$(BIN)/mutmut export-cicd-stats && cat mutants/mutmut-cicd-stats.json

lint: $(VENV)/.dev ## run ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## fix and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## build the documentation's site in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(VENV)/.dev ## measure speed and memory, and write bench/results.md (ARGS=sync for a part)
	$(BIN)/python -m bench $(ARGS)

ROW ?= 1 record
profile: $(VENV)/.dev ## draw a flame graph of one row of the benchmark in bench/profile.svg (ROW="1 record")
	$(BIN)/python -m bench --seconds 10 --profile "$(ROW)" sync variants

# The other lists are constrained by the first, which includes them, so all can be installed together.
COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	--custom-compile-command "make requirements" pyproject.toml
requirements: $(VENV)/.dev ## pin the packages that pyproject.toml lists, with hashes (UPGRADE=--upgrade for newer versions)
	$(BIN)/uv $(COMPILE) --all-extras --group dev -o requirements-dev.txt
	$(BIN)/uv $(COMPILE) --all-extras -c requirements-dev.txt -o requirements-all.txt
	$(BIN)/uv $(COMPILE) -c requirements-dev.txt -o requirements.txt
	$(BIN)/uv $(COMPILE) --extra otel -c requirements-dev.txt -o requirements-otel.txt
	$(BIN)/uv $(COMPILE) --extra sso -c requirements-dev.txt -o requirements-sso.txt

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(wildcard requirements*.txt) $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
