# `make` says what there is. Every target sets up what it needs first; what is up to date is skipped.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo airflow test validate scenarios lint coverage lock jars-cluster clean \
	env stack stack-demo stack-test stack-down stack-destroy

PY := .venv/bin/python
GATED := stats analyses decision config

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: ## the environment in .venv, the jars and Spark's start-up archives
	@scripts/setup.sh

setup-dev:
	@scripts/setup.sh dev

demo: setup ## one synthetic experiment through Airflow: decision, results, memo
	@scripts/airflow-init.sh
	@. scripts/airflow-env.sh && $(PY) -m exp_platform.orchestration.demo

airflow: setup ## Airflow with the experiments' DAGs on http://127.0.0.1:8080 (stop with Ctrl-C)
	@scripts/airflow-init.sh
	@. scripts/airflow-env.sh && echo "==> user admin, password in $$AIRFLOW_HOME/simple_auth_manager_passwords.json.generated" \
		&& exec airflow standalone

test: lint ## everything that must hold: lint, types, import contracts, tests, coverage
	@scripts/airflow-init.sh
	@. scripts/airflow-env.sh && $(PY) -m pytest --cov --cov-report= $(PYTEST_ARGS) </dev/null
	@$(MAKE) --no-print-directory coverage

coverage: # the gate: at least 95 % of each of these, from the last test run
	@for part in $(GATED); do \
		echo "==> coverage of $$part"; \
		$(PY) -m coverage report --fail-under=95 \
			--include="include/exp_platform/$$part.py,include/exp_platform/$$part/*"; \
	done

validate: setup ## is every method as good as it says? about 20 minutes; writes docs/08_statistical_validation.md
	@. scripts/airflow-env.sh && $(PY) -m exp_platform.validation $(VALIDATE_ARGS)

scenarios: setup ## what the platform says in situations whose truth is known; writes docs/09_experiment_scenarios.md
	@. scripts/airflow-env.sh && $(PY) -m exp_platform.scenarios

lint: setup-dev ## style, types and import contracts only
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

lock: ## pin every version anew: requirements.in -> requirements.txt
	@[ -x .venv/bin/uv ] || scripts/setup.sh dev
	@for part in requirements requirements-dev; do \
		.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
			--no-emit-index-url --no-emit-find-links --output-file $$part.txt $$part.in; \
	done

jars-cluster: setup ## the jars a cluster needs beside, in jars/cluster: Iceberg on S3, Postgres
	@scripts/fetch-jars.sh cluster

env: ## secrets for the compose stack in .env (mode 600), where there is none yet
	@scripts/stack-env.sh

stack: ## Airflow, Postgres, MinIO and a Spark cluster by docker compose; says where they are
	@scripts/stack-up.sh

stack-demo: ## two experiments at once through the running stack: decisions, memos
	@scripts/compose.sh run --rm tools python -m exp_platform.orchestration.stack_demo $(EXPERIMENTS)

stack-test: setup-dev stack ## kills, faults, restarts and comparisons on the running stack (40 minutes)
	@set -a && . ./.env && . scripts/stack-host-env.sh && EXP_STACK=1 $(PY) -m pytest tests/stack -v $(PYTEST_ARGS) </dev/null

stack-down: ## stop the stack; tables, memos, logs and history stay
	@scripts/compose.sh --profile tools down

stack-destroy: ## stop the stack and remove everything that it holds
	@scripts/compose.sh --profile tools down --volumes

clean: ## remove everything that was made here: environment, jars, data, Airflow's database
	rm -rf .venv .airflow data .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	rm -rf jars/*.jar jars/*.jsa jars/cluster jars/conf jars/.stamp*
