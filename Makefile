# `make` says what there is. Every target sets up what it needs first; what is up to date is skipped.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev engines benchmark-engines demo lake-demo airflow test test-unit test-processors test-e2e test-cluster test-simulations test-all \
	test-stack durations fuzz validate scenarios docs hooks lint coverage audit lock lock-jars jars-cluster clean env stack stack-demo stack-down stack-destroy

PY := .venv/bin/python
GATED := stats analyses decision config
# `make lock LOCK_ARGS=` takes in what an .in file says anew and leaves the other versions as they are.
LOCK_ARGS := --upgrade
# Real data through the real Airflow: the one end-to-end file of `make test`.
REAL := tests/end_to_end/test_real_data.py
# One thread each, because there is a worker for every core; a file's tests share its fixtures, so they share a worker.
PYTEST := . scripts/airflow-env.sh && . scripts/test-env.sh && export OPENBLAS_NUM_THREADS=1 && $(PY) -m pytest -q -rs
WORKERS := -n logical --maxprocesses 8
# Files in the order of their folders, of which the last are short, and not those of few tests last, which are the longest.
PARALLEL := $(WORKERS) --dist loadfile --no-loadscope-reorder

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 18

setup: ## the environment in .venv, the jars and Spark's start-up archives
	@scripts/setup.sh

setup-dev:
	@scripts/setup.sh dev

engines:
	@scripts/setup.sh engines

benchmark-engines:
	@scripts/setup.sh benchmarks

demo: setup ## one synthetic experiment through Airflow: decision, results, memo
	@scripts/airflow-init.sh
	@. scripts/airflow-env.sh && $(PY) -m exp_demo.laptop

lake-demo: setup ## two experiments that share sources and metrics on a made-up lake, through Airflow; every number checked by DuckDB
	@scripts/airflow-init.sh
	@. scripts/airflow-env.sh && $(PY) -m exp_demo.lake_demo

airflow: setup ## Airflow with the experiments' DAGs on http://127.0.0.1:8080, or at EXP_AIRFLOW_PORT (stop with Ctrl-C)
	@. scripts/airflow-env.sh && scripts/airflow-port.sh
	@scripts/airflow-init.sh
	@. scripts/airflow-env.sh && echo "==> $$AIRFLOW__API__BASE_URL user admin, password in \
	$$AIRFLOW_HOME/simple_auth_manager_passwords.json.generated" && exec $(PY) -m exp_platform.orchestration.standalone

test: lint test-unit ## everything that a change must pass: lint, unit tests with coverage, real data through Airflow
	@$(PYTEST) $(REAL) $(PYTEST_ARGS) </dev/null
	@echo "==> Not run: the other end-to-end tests (make test-e2e), the cluster's (make test-cluster, needs Postgres),"
	@echo "    simulations (make test-simulations), other processors (make test-processors); make test-all runs them all."
	@echo "    The compose stack's have a target of their own: make test-stack."

test-unit: setup-dev ## the unit tests, a worker per core, and the coverage that the gated rooms must have
	@echo "==> $@"
	@$(PYTEST) -m unit $(WORKERS) --cov --cov-report= $(PYTEST_ARGS) </dev/null
	@$(MAKE) --no-print-directory coverage

test-processors: setup-dev ## the numerical rooms' tests once more, as on other processors
	@echo "==> $@"
	@. scripts/airflow-env.sh && . scripts/test-env.sh && $(PY) scripts/test_processors.py $(WORKERS) $(PYTEST_ARGS)

test-e2e: setup-dev ## whole runs on this machine: Airflow, Spark, the commands
	@echo "==> $@"
	@$(PYTEST) -m e2e $(PARALLEL) $(PYTEST_ARGS) </dev/null

test-cluster: setup-dev jars-cluster engines ## whole runs on Postgres, an S3 server and a Spark cluster of the tests' own; needs Postgres
	@echo "==> $@"
	@$(PYTEST) -m cluster tests/cluster $(PYTEST_ARGS) </dev/null

test-simulations: setup-dev ## error rates counted on simulated data, the situations of docs/09, the notebooks
	@echo "==> $@"
	@$(PYTEST) -m simulations tests/notebooks tests/tools $(PARALLEL) $(PYTEST_ARGS) </dev/null

# The cluster's tests mostly wait for servers, so they go on beside the others; what a tier says is printed as it ends.
# What is set up by then counts as done (-o), or the tiers that need less of it would begin first.
test-all: lint jars-cluster engines ## all of these, without the compose stack's
	@began=$$SECONDS; $(MAKE) --no-print-directory -j2 -o setup -o setup-dev -o jars-cluster -o engines \
		$(if $(filter output-sync,$(.FEATURES)),--output-sync=target) \
		test-cluster test-unit test-processors test-e2e test-simulations; \
	echo "==> all tiers in $$(((SECONDS - began + 30) / 60)) minutes"

durations: setup-dev ## what each tier takes: runs them all, or reads LOG, and writes the table of docs/13_tests.md
	@$(PY) scripts/test_durations.py $(LOG)

test-stack: setup-dev stack ## kills, faults, restarts and comparisons on the running compose stack (more than an hour)
	@set -a && . scripts/stack-host-env.sh && EXP_STACK=1 $(PY) -m pytest -m stack -v $(PYTEST_ARGS) </dev/null

fuzz: setup-dev ## the properties on cases that have never been drawn; what fails is kept in .hypothesis and told
	@$(PYTEST) -m "unit and hypothesis" --hypothesis-profile fuzz $(WORKERS) $(PYTEST_ARGS) </dev/null

coverage: # the gate: at least 95 % of each of these, from the last test run
	@for part in $(GATED); do \
		echo "==> coverage of $$part"; \
		$(PY) -m coverage report --fail-under=95 \
			--include="include/exp_platform/$$part.py,include/exp_platform/$$part/*"; \
	done

validate: setup ## is every method as good as it says? about 20 minutes; writes docs/08_statistical_validation.md
	@. scripts/airflow-env.sh && $(PY) -m exp_validation $(VALIDATE_ARGS)

scenarios: setup ## what the platform says in situations whose truth is known; writes docs/09_experiment_scenarios.md
	@. scripts/airflow-env.sh && $(PY) -m exp_scenarios

docs: setup-dev ## the pages of docs/ as a site in site/, without the network; a link that leads nowhere fails it
	@.venv/bin/mkdocs build
	@echo "==> site/index.html; with search: $(PY) -m http.server --directory site --bind 127.0.0.1 8000"

hooks: setup-dev ## lint before each commit, with the tools of .venv
	@.venv/bin/pre-commit install

lint: setup-dev ## style, types, spelling and import contracts only
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/codespell

lock: ## pin every version anew, with the hashes of its files: *requirements*.in -> .txt
	@[ -x .venv/bin/uv ] || scripts/setup.sh dev
	@for part in requirements requirements-dev requirements-build docker/requirements deploy/image/requirements tests/cluster/requirements benchmarks/requirements; do \
		.venv/bin/uv pip compile --quiet $(LOCK_ARGS) --universal --python-version 3.11 --generate-hashes --no-header \
			--no-annotate --no-emit-index-url --no-emit-find-links --output-file $$part.txt $$part.in; \
	done

audit: setup-dev ## known vulnerabilities of the locked packages; says so where no database answers
	@scripts/audit.sh

lock-jars: setup ## the checksums of the jars after a change of jars/ivy.xml: jars/SHA256SUMS
	@scripts/fetch-jars.sh lock

jars-cluster: setup ## the jars a cluster needs beside, in jars/cluster: Iceberg on S3, Postgres
	@scripts/setup.sh cluster

env: ## secrets for the compose stack, a file each in .secrets, where there are none yet
	@scripts/stack-env.sh

stack: ## Airflow, Postgres, MinIO and a Spark cluster by docker compose; says where they are
	@scripts/stack-up.sh

stack-demo: ## two experiments at once through the running stack: decisions, memos
	@scripts/compose.sh run --rm tools python -m exp_demo.stack $(EXPERIMENTS)

stack-down: ## stop the stack; tables, memos, logs and history stay
	@scripts/compose.sh --profile tools down

stack-destroy: ## stop the stack and remove everything that it holds
	@scripts/compose.sh --profile tools down --volumes

clean: ## remove everything that was made here: environment, jars, data, Airflow's database
	rm -rf .venv .airflow data site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	rm -rf jars/*.jar jars/*.jsa jars/cluster jars/conf jars/.stamp*
