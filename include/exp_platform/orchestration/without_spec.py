"""The DAG of an experiment whose spec is broken or gone: so that its runs end, with a reason, and give the lease back.

Airflow passes over the runs of a DAG that no file makes any more: they stay `running` for ever. A run that `check` has frozen
goes on as it began; in any other one task fails and says what is wrong. An experiment that is broken has such a run whenever it
is due: else it would stop to be analysed, and nobody would be told.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from exp_platform.config.asset import dag_id_of
from exp_platform.config.environment import load_environment
from exp_platform.config.loading import Loaded, load_experiment
from exp_platform.errors import ConfigError, bounded
from exp_platform.orchestration.connections import told_plainly
from exp_platform.orchestration.dag import RETRY_DELAY, build_dag
from exp_platform.orchestration.limits import PLAIN_TIMEOUT
from exp_platform.orchestration.run_lease import give_back
from exp_platform.stages.run import Run
from exp_platform.tables.last_runs import ids_run, run_json_of

SPEC_TASK = "spec"
_TAG = "without spec"
_PATIENCE = timedelta(minutes=3)  # for a spec that was saved in two steps


def dags_without_spec(loaded: Loaded, failures: dict[str, Exception]) -> list[DAG]:
    """A DAG for each experiment that has no other: broken, refused by Airflow, or run within the last days and gone."""
    try:
        gone = [id for id in ids_run(load_environment()) if id not in loaded.experiments]
    except ConfigError:  # every task tells what is wrong with the environment
        gone = []
    broken = dict.fromkeys([*loaded.broken, *failures])
    return [
        *(dag_without_spec(id, scheduled=True, active=loaded.broken.get(id, False)) for id in broken),
        *(dag_without_spec(id, scheduled=False) for id in gone if id not in broken),
    ]


def dag_of_task(experiment_id: str, task_id: str | None) -> DAG:
    """The experiment's DAG for the process of one of its tasks, which it has though the spec may have changed since.

    Raises what is wrong with the spec where no DAG with that task can be made.
    """
    if task_id == SPEC_TASK:
        return _single_task(experiment_id)
    try:
        dag = build_dag(load_experiment(experiment_id))
    except Exception:  # of whatever kind: it is no matter of a run that has begun
        kept = _kept(experiment_id)
        if kept is None:
            raise
        return kept
    return dag if task_id in (None, *dag.task_ids) else _kept(experiment_id) or dag


def dag_without_spec(experiment_id: str, *, scheduled: bool, active: bool = False) -> DAG:
    """The experiment's DAG as its last run was frozen; else one of a single task that fails.

    `scheduled`: with its schedule, so that somebody sees, and is told, that the spec keeps it from its daily run.
    """
    return _kept(experiment_id, scheduled=scheduled) or _single_task(experiment_id, active=active)


def _kept(experiment_id: str, *, scheduled: bool = False) -> DAG | None:
    try:
        run_json = run_json_of(load_environment(), experiment_id)
        if not run_json:
            return None
        dag = build_dag(Run.load(run_json).experiment, scheduled=scheduled)
    except Exception:  # it was removed, or is of another version; or as with a DAG that is made of a spec
        return None
    dag.tags.add(_TAG)
    return dag


def _single_task(experiment_id: str, *, active: bool = False) -> DAG:
    with DAG(
        dag_id=dag_id_of(experiment_id),
        auto_register=False,
        description="Its spec cannot be used: see the log of its task, or `exp validate`",
        tags=["experiment", _TAG],
        schedule=None,
        catchup=False,
        is_paused_upon_creation=not active,
        default_args={"owner": "platform"},
    ) as dag:
        SpecOperator(
            task_id=SPEC_TASK,
            experiment_id=experiment_id,
            retries=_PATIENCE // RETRY_DELAY,
            retry_delay=RETRY_DELAY,
            execution_timeout=PLAIN_TIMEOUT,
            doc_md="Fails with what is wrong with the spec, and gives the experiment's lease back.",
        )
    return dag


class SpecOperator(BaseOperator):
    """Fails with the faults of a spec, at once; where there are none any more, with a retry, as the DAG is about to change."""

    def __init__(self, *, experiment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experiment_id = experiment_id

    def execute(self, context: Context) -> None:
        """Give the lease back, whoever of this DAG has left it, and raise."""
        with told_plainly():
            give_back(context, self.experiment_id)
        try:
            build_dag(load_experiment(self.experiment_id))
        except Exception as error:  # of whatever kind: it is why the DAG has no other task
            raise AirflowFailException(
                f"{bounded(str(error))}\nMend it (`exp validate` tells every fault), or put the spec back, then trigger a new run. "
                f"An experiment that is over and done with is forgotten by `exp delete {self.experiment_id}`"
            ) from None
        raise AirflowException("the spec can be used again; this run goes on once Airflow has parsed it")
