"""The DAG `run_experiment`: conf {"experiment_id": ...} starts that experiment's own DAG and waits for it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from exp_platform.config.spec_base import ID_PATTERN
from exp_platform.orchestration.asked import PARAMS
from exp_platform.orchestration.trigger import RunExperimentOperator

with DAG(
    dag_id="run_experiment",
    description="Runs one experiment by its id",
    doc_md=__doc__,
    tags=["platform"],
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    params={
        # No list of ids: it would be another version of this DAG with every new one, offer paused ones, and name to whoever may
        # see this DAG experiments that they may not see.
        "experiment_id": Param(
            type="string",
            title="Experiment",
            pattern=ID_PATTERN,
            description_md="The id of an experiment whose DAG is not paused; the [list](/plugin/experiments) has them all.",
        ),
        **PARAMS,
    },
    default_args={"owner": "platform", "retries": 0},
) as dag:
    RunExperimentOperator(task_id="run", doc_md="Triggers the experiment's DAG, waits, and fails with it.")
