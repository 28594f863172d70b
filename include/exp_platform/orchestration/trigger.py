"""The operator of the DAG `run_experiment`: starts an experiment's own DAG by the experiment's id and waits for it."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from exp_platform.orchestration.dag import dag_id_of
from exp_platform.orchestration.operators import under_dags_test

POLL_SECONDS = 5


class RunExperimentOperator(TriggerDagRunOperator):
    """Triggers `exp__<experiment_id>` of the run's params with no logical date, waits without a worker, fails with it.

    No logical date: two runs at the same instant never collide, and the run counts as of when it starts.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id="",  # known from the params when it runs
            logical_date=None,
            wait_for_completion=True,
            poke_interval=POLL_SECONDS,
            deferrable=True,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Trigger and wait. Refuses where nobody would start the child: under `dags test`, or where it is paused."""
        params = context["params"]
        self.trigger_dag_id = dag_id_of(params["experiment_id"])
        if under_dags_test(context):
            raise AirflowFailException(
                "`airflow dags test` has no scheduler that would start another DAG; "
                f"run `airflow dags test {self.trigger_dag_id}` instead"
            )
        if context["ti"].get_dag(self.trigger_dag_id).is_paused:
            raise AirflowFailException(
                f"{self.trigger_dag_id} is paused, so its run would wait for ever; unpause it in the UI or by "
                f"`airflow dags unpause {self.trigger_dag_id}`, or set `active: true` in its spec's schedule"
            )
        self.conf = {"as_of": params.get("as_of"), "force": bool(params.get("force"))}
        return super().execute(context)
