# Everything a person does with this repository. `make` alone lists it.
#
# A machine needs python3 (3.11 or newer), make and git; each target first brings what it needs itself (.ci/setup.py). Options go
# through ARGS: `make demo ARGS="--seconds 30"`, `make test ARGS="-k lifecycle"`.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
CODE := pipeline agents schemas loadtests tests .ci $(wildcard examples)

.DEFAULT_GOAL := help
.PHONY: help setup run-setup gpu-setup train-setup demo test lint types format bench chaos gpu train docs lock clean

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '%-8s %s\n' "$$name" "$$what"; done

setup: ## build .venv with the program and everything that checks it
	@$(PYTHON) .ci/setup.py dev

run-setup:
	@$(PYTHON) .ci/setup.py run

gpu-setup:
	@$(PYTHON) .ci/setup.py gpu

train-setup:
	@$(PYTHON) .ci/setup.py train

demo: run-setup ## the whole story on this machine: Kafka, Redis, agents, cameras, payments, audit
	@$(BIN)/facepay demo $(ARGS)

test: lint types ## everything CI asks: lint, types, architecture, dependencies, tests
	$(BIN)/pytest $(ARGS)

lint: setup ## style, architecture (imports one way) and dependencies
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry .

types: setup ## mypy, strict
	$(BIN)/mypy $(CODE)

format: setup ## rewrite code and reference pages the way `make test` wants them
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/python .ci/reference.py

bench: setup ## benchmarks, each against a baseline in the same run (ARGS="match", "engine", ...)
	@$(BIN)/facepay bench $(ARGS)

chaos: setup ## the drills that kill agents and the broker, longer than in `make test` (ARGS go to pytest)
	$(BIN)/pytest tests/chaos $(ARGS)

gpu: gpu-setup ## the checks and benchmarks that need a GPU, in an environment of their own (.venv-gpu)
	@.venv-gpu/bin/facepay doctor
	.venv-gpu/bin/pytest tests/gpu $(ARGS)
	@.venv-gpu/bin/facepay bench gpu

train: train-setup ## train the models of the drawn people anew, in build/train (.venv-train takes gigabytes; goes on where it stopped)
	@.venv-train/bin/python -m loadtests.people.train $(if $(ARGS),$(ARGS),all)

docs: setup ## write the reference pages from the code and build the documentation into site/
	$(BIN)/python .ci/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# run.txt is solved first and constrains the others, so that a tool of the developers never moves what customers run.
lock: setup ## solve the requirements anew, to the newest versions pyproject.toml allows
	$(LOCK) --upgrade requirements/build.in --output-file requirements/build.txt
	$(LOCK) --upgrade pyproject.toml --extra cpu --extra local --extra postgres --output-file requirements/run.txt
	$(LOCK) --upgrade pyproject.toml --extra cpu --extra local --extra postgres --group dev --group bench \
		--constraint requirements/run.txt --output-file requirements/dev.txt
	$(LOCK) --upgrade pyproject.toml --extra gpu --extra local --extra postgres --group dev --group bench \
		--constraint requirements/run.txt --output-file requirements/gpu.txt
	$(LOCK) --upgrade pyproject.toml --extra cpu --extra local --extra postgres --group dev --group bench --group train \
		--constraint requirements/dev.txt --output-file requirements/train.txt
	@$(MAKE) --no-print-directory setup

LOCK = UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

clean: ## remove everything that `make` made here
	rm -rf .venv .venv-gpu .venv-train site dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
