"""A DAG for each experiment of the configs, and for each whose spec is broken or has gone while it is being run.

What keeps a spec from having its own DAG is told by config_errors.py, and by the DAG that it has instead.
"""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from exp_platform.config.asset import DAG_PREFIX
from exp_platform.config.loading import load_all
from exp_platform.orchestration.dag import build_dags
from exp_platform.orchestration.without_spec import dag_of_task, dags_without_spec

# While Airflow runs one task, it parses this file for that task's DAG alone: then only that one spec is read.
parsing = get_parsing_context()

if parsing.dag_id is None:
    loaded = load_all()
    dags, failures = build_dags(loaded.experiments.values())
    dags += dags_without_spec(loaded, failures)
elif parsing.dag_id.startswith(DAG_PREFIX):
    dags = [dag_of_task(parsing.dag_id.removeprefix(DAG_PREFIX), parsing.task_id)]
else:
    dags = []

for dag in dags:
    globals()[dag.dag_id] = dag
