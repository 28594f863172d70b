"""The DAG `run_experiment`: conf {"experiment_id": ...} starts that experiment's own DAG and waits for it."""

from __future__ import annotations

from airflow.sdk import DAG, Param, get_parsing_context

from exp_platform.config.loading import load_all
from exp_platform.orchestration.asked import PARAMS
from exp_platform.orchestration.trigger import RunExperimentOperator

# A task's own parse need not know all ids: the form and the REST API have refused unknown ones by then.
known = sorted(load_all().experiments) if get_parsing_context().dag_id is None else []

with DAG(
    dag_id="run_experiment",
    description="Runs one experiment by its id",
    doc_md=__doc__,
    tags=["platform"],
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    params={
        "experiment_id": Param(
            type="string",
            title="Experiment",
            description="Whose DAG `exp__<experiment_id>` to run; it must not be paused.",
            **({"enum": known} if known else {}),
        ),
        **PARAMS,
    },
    default_args={"owner": "platform", "retries": 0},
) as dag:
    RunExperimentOperator(task_id="run", doc_md="Triggers the experiment's DAG, waits, and fails with it.")
