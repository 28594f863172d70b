"""The one place that turns an experiment into an Airflow DAG: a task per stage, in the order of the list of stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import attrs
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, BaseOperator, Context, TaskGroup, TriggerRule
from airflow.sdk.definitions.param import ParamsDict

from exp_platform.config.analyses import NAMES
from exp_platform.config.asset import dag_id_of, results_of
from exp_platform.config.awaited import Awaited, awaited
from exp_platform.config.environment import load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import current_rules
from exp_platform.config.source_rules import SourceRules
from exp_platform.config.spec_base import LONGEST_OWNER, LONGEST_TAG
from exp_platform.errors import ConfigError, shortened
from exp_platform.escaping import line
from exp_platform.orchestration.after_asset import asset_before
from exp_platform.orchestration.asked import PARAMS
from exp_platform.orchestration.dag_doc import dag_doc
from exp_platform.orchestration.limits import PLAIN_TIMEOUT, SESSION_TIMEOUT, lease_wait, run_timeout
from exp_platform.orchestration.operators import (
    CheckOperator,
    ReleaseOperator,
    RetryAtOnceUnderTest,
    StageOperator,
)
from exp_platform.orchestration.priority import CHECK, ENDED, RELEASE, WAIT, RunOrder, priority, size_of
from exp_platform.orchestration.shown import MEMO
from exp_platform.orchestration.timetable import timetable_of
from exp_platform.stages.graph import Stage, stages_of
from exp_platform.tables.last_runs import seconds_of
from exp_platform.tables.status import Status, status_of

# Two pools: where tasks of one and of two slots wait for the same, those of one fill each gap, the others' second slot stands idle,
# and Airflow's scheduler asks its database anew for each of the many that do not fit.
SPARK_POOL = "spark"
SESSION_SLOTS = 2  # of it
STAGES_POOL = "stages"
ANALYSES = "analyses"  # the group of their tasks, whose ids stay what they are
RETRY_DELAY = timedelta(seconds=30)
LONGEST_RETRY_DELAY = timedelta(minutes=4)  # shorter than any lease lives without a beat (tables.lease)


def results_asset(experiment_id: str) -> Asset:
    """The asset that a new decision of the experiment updates; a DAG of one's own may be scheduled on it.

    `memo` updates it, the last stage: whoever is started finds the results, which count since `decision`, and the memo's files of them.
    """
    name, uri = results_of(experiment_id)
    return Asset(name=name, uri=uri)


def build_dags(experiments: Iterable[Experiment]) -> tuple[list[DAG], dict[str, Exception]]:
    """The DAGs of all experiments that one can be made of, and of the others, by id, why not."""
    made, failures = [], {}
    rules, noted = current_rules(), noted_of()
    for experiment in experiments:
        try:
            made.append(build_dag(experiment, rules, noted=noted(experiment.id)))
        except Exception as error:  # of whatever kind: it must cost no other experiment its DAG
            failures[experiment.id] = error
    return made, failures


class Noted(NamedTuple):
    """What an experiment's runs have noted: the seconds that a whole one was measured to take, and where the experiment stood then."""

    seconds: float | None = None
    status: Status | None = None


NOTHING_NOTED = Noted()


def noted_of() -> Callable[[str], Noted]:
    """What was noted of an experiment, by its id; nothing of any where there is no environment."""
    try:
        environment = load_environment()
    except ConfigError:  # every task tells what is wrong with it
        return lambda experiment_id: NOTHING_NOTED
    return lambda experiment_id: Noted(
        seconds_of(environment, experiment_id), status_of(environment, experiment_id)
    )


def build_dag(
    experiment: Experiment,
    rules: SourceRules | None = None,
    *,
    scheduled: bool = True,
    noted: Noted = NOTHING_NOTED,
) -> DAG:
    """The experiment's DAG: a wait for data on S3, check, its stages, release; not `scheduled`: runs by hand alone.

    `rules` None: those of the environment that is set. `noted`: by which it is known whose turn it is, and
    which status is a tag. Reads variables, in locations as far as the rules allow, and no database, clock, network or file.
    """
    stages = stages_of(experiment)
    waits_for = awaited(experiment, rules or current_rules())
    with (
        DAG(
            dag_id=dag_id_of(experiment.id),
            auto_register=False,  # else one that fails half-way would be a DAG without its tasks
            description=line(shortened(experiment.hypothesis or experiment.description)) or None,
            doc_md=dag_doc(experiment, stages, waits_for),
            tags=[
                "experiment",
                experiment.source.kind,
                *(line(tag)[:LONGEST_TAG] for tag in experiment.tags),
                *((noted.status,) if noted.status else ()),
            ],
            schedule=(asset_before(experiment) or timetable_of(experiment)) if scheduled else None,
            catchup=False,
            max_active_runs=1,
            dagrun_timeout=run_timeout(experiment, waits_for_data=bool(waits_for)),
            on_failure_callback=partial(_tell_timeout, experiment_id=experiment.id),
            is_paused_upon_creation=not experiment.schedule.active,
            default_args={
                "owner": line(experiment.owner)[:LONGEST_OWNER],
                "retries": experiment.schedule.retries,
                "retry_delay": RETRY_DELAY,
                "retry_exponential_backoff": 2.0,
                "max_retry_delay": LONGEST_RETRY_DELAY,
                "retry_policy": RetryAtOnceUnderTest(),
                "weight_rule": RunOrder(),
            },
        ) as dag
    ):
        wait = [_wait_task(experiment, waits_for)] if waits_for else []
        check = CheckOperator(
            task_id=CHECK,
            experiment_id=experiment.id,
            longest_wait=lease_wait(experiment),
            execution_timeout=PLAIN_TIMEOUT,
            doc_md="Starts a run, or ends it as a success with everything skipped where nothing changed.",
        )
        wait >> check
        group = TaskGroup(ANALYSES, prefix_group_id=False, tooltip="What is computed of the aggregates")
        tasks = {
            stage.name: _stage_task(experiment, stage, group if stage.name in NAMES else None)
            for stage in stages
        }
        # By what is not only before `release` Airflow judges a run: with a task between them by the last stage, and by both.
        ended = EmptyOperator(
            task_id=ENDED,
            execution_timeout=PLAIN_TIMEOUT,
            doc_md="All stages have ended, however; costs no process.",
        ).as_teardown()
        ended >> ReleaseOperator(
            task_id=RELEASE,
            experiment_id=experiment.id,
            execution_timeout=PLAIN_TIMEOUT,
            doc_md="Gives the experiment's lease back, however the run ended, and says where a person stopped it.",
        ).as_teardown(on_failure_fail_dagrun=True)
        for stage in stages:
            ([tasks[name] for name in stage.needs] or check) >> tasks[stage.name]
        # Of the analyses too: `decision` gives up as soon as one has failed, while others still run under the lease.
        [task for name, task in tasks.items() if name in (*NAMES, stages[-1].name)] >> ended
        size = size_of(experiment, noted.seconds)
        for task in dag.tasks:
            task.priority_weight = priority(task.task_id, size)
    # Last, because Airflow copies a DAG's params deeply for each operator that it makes; and unchecked, because these
    # are the same for every DAG. Both count with hundreds of experiments.
    with attrs.validators.disabled():
        dag.params = ParamsDict(PARAMS)
    return dag


def _tell_timeout(context: Context, experiment_id: str) -> None:
    from exp_platform.orchestration.run_end import tell_timeout  # which no parse needs

    tell_timeout(context, experiment_id)


def _wait_task(experiment: Experiment, waits_for: Sequence[Awaited]) -> BaseOperator:
    from exp_platform.orchestration.source_sensor import SourceSensor  # half a second, where it is not needed

    return SourceSensor(
        task_id=WAIT,
        experiment_id=experiment.id,
        awaited=waits_for,
        wait=timedelta(hours=experiment.schedule.wait_hours),
        execution_timeout=PLAIN_TIMEOUT,
        doc_md="Waits, without a worker and without the lease, until the data or their marker are on S3.",
    )


def _stage_task(experiment: Experiment, stage: Stage, group: TaskGroup | None) -> StageOperator:
    return StageOperator(
        task_id=stage.name,
        task_group=group,
        stage=stage,
        experiment_id=experiment.id,
        longest_wait=lease_wait(experiment),
        pool=SPARK_POOL if stage.spark_session else STAGES_POOL,
        pool_slots=SESSION_SLOTS if stage.spark_session else 1,
        execution_timeout=SESSION_TIMEOUT if stage.spark_session else PLAIN_TIMEOUT,
        # A best-effort stage that failed is skipped, which `decision` passes over; a failed required one blocks it.
        trigger_rule=TriggerRule.NONE_FAILED,
        outlets=[results_asset(experiment.id)] if stage.name == MEMO else [],
        doc_md=stage.doc + ("" if stage.required else " Best effort: the run goes on without it."),
    )
