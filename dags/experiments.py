"""A DAG for each experiment of the configs. What keeps one from having a DAG is told by config_errors.py."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from exp_platform.config.loading import load_all, load_one_for_parse
from exp_platform.orchestration.dag import DAG_PREFIX, build_dags

# While Airflow runs one task, it parses this file for that task's DAG alone: then only that one spec is read.
wanted = get_parsing_context().dag_id

if wanted is None:
    experiments = list(load_all().experiments.values())
elif wanted.startswith(DAG_PREFIX):
    experiments = [load_one_for_parse(wanted.removeprefix(DAG_PREFIX))]
else:
    experiments = []

dags, failures = build_dags(experiments)
for dag in dags:
    globals()[dag.dag_id] = dag
if wanted is not None:
    for failure in failures.values():
        raise failure
