"""A key that no DAG knows is refused by name: Airflow would take it, and the run would be about something else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from exp_platform.errors import ConfigError
from exp_platform.orchestration.asked import ON_BEHALF_OF, PARAMS, refuse_unknown, started_by
from exp_platform.orchestration.maintenance import MaintenanceOperator
from exp_platform.orchestration.operators import CheckOperator
from exp_platform.orchestration.trigger import RunExperimentOperator


def _asked(conf: Any, dag_id: str = "exp__x", run_type: str = "manual", user: str | None = None) -> Any:
    run = SimpleNamespace(dag_id=dag_id, conf=conf, run_type=run_type, run_id="r1", triggering_user_name=user)
    return {
        "params": conf,
        "dag_run": run,
        "ti": SimpleNamespace(try_number=1, xcom_push=lambda key, value: None),
    }


@pytest.mark.parametrize("conf", [None, {}, {"as_of": "2026-01-06", "force": True}])
def test_known_keys_pass(conf: Any) -> None:
    refuse_unknown(_asked(conf), PARAMS)


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"asof": "2026-01-06"}, "unknown key 'asof'; did you mean as_of? allowed: as_of, force, full"),
        (
            {"forced": True, "as_of": None},
            "unknown key 'forced'; did you mean force? allowed: as_of, force, full",
        ),
        ({"zzz": 1, "yyy": 2}, "unknown key 'zzz', 'yyy'; allowed: as_of, force, full"),
        ({"x\n\x1b[31m": 1}, "unknown key 'x\\n\\x1b[31m'; allowed: as_of, force, full"),
        ({"k" * 100_000: 1}, "allowed: as_of, force, full"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_and_all_that_are_allowed(conf: Any, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        refuse_unknown(_asked(conf), PARAMS)
    assert str(told.value).startswith("conf of exp__x: unknown key ")
    assert words in str(told.value)
    assert len(str(told.value)) < 2000


def test_every_dag_refuses_before_it_does_anything() -> None:
    check = CheckOperator(task_id="check", experiment_id="x", longest_wait=None)
    run = RunExperimentOperator(task_id="run")
    maintain = MaintenanceOperator(task_id="maintain")
    for operator, dag_id, conf, words in (
        (check, "exp__x", {"asof": "2026-01-06"}, "did you mean as_of? allowed: as_of, force, full"),
        (
            run,
            "run_experiment",
            {"experiment": "x"},
            "did you mean experiment_id? allowed: as_of, experiment_id, force, full",
        ),
        (
            maintain,
            "maintenance",
            {"force": True},
            "unknown key 'force'; allowed: none, this DAG takes no conf",
        ),
    ):
        with pytest.raises(AirflowFailException) as told:  # which is not retried
            operator.execute(_asked(conf, dag_id))
        assert words in str(told.value)


def test_the_audit_names_who_asked_for_the_run_that_another_dag_started() -> None:
    conf = {"as_of": None, ON_BEHALF_OF: "ada"}
    child = _asked(conf, run_type="operator_triggered")
    refuse_unknown(child, PARAMS)
    assert started_by(child) == "ada by Airflow, r1"
    assert started_by(_asked({}, run_type="operator_triggered")) == "operator_triggered by Airflow, r1"
    assert started_by(_asked(None, run_type="scheduled")) == "scheduled by Airflow, r1"


def test_nobody_names_another_as_who_asked() -> None:
    forged = _asked({ON_BEHALF_OF: "ada"}, user="eve")
    assert started_by(forged) == "eve by Airflow, r1"
    with pytest.raises(ConfigError, match="unknown key 'on_behalf_of'"):
        refuse_unknown(forged, PARAMS)
