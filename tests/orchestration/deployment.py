"""A small deployment under a temporary folder: two specs, no jars, no Spark; DAG runs are real, submits are not."""

from __future__ import annotations

import copy
import json
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exp_platform.config.loading import load_experiment
from exp_platform.orchestration import dag
from exp_platform.stages import start
from exp_platform.stages.run import Run
from orchestration.airflow_home import ROOT

FAKE = Path(__file__).with_name("fake_spark_submit.py")
EXPERIMENT = "button_test"
SPEC = {"hypothesis": "A green button sells.", "days": 3, "n_users": 1000, "schedule": {"retries": 1}}
SPECS = {EXPERIMENT: SPEC, "other_test": SPEC}


@dataclass(frozen=True)
class DagRunOutcome:
    """How a DAG run ended, and what its tasks left."""

    state: str
    run_id: str
    tasks: dict[str, str]  # task -> state
    tries: dict[str, int]
    xcoms: dict[str, dict[str, Any]]  # task -> manifest


class Deployment:
    """Sets the environment of one test; `plan` says what the stages' tries do (see fake_spark_submit)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.configs, self.state = folder / "configs", folder / "state"
        shutil.copytree(ROOT / "configs" / "environments", self.configs / "environments")
        jars, programs = folder / "jars", folder / "bin"
        jars.mkdir()
        (jars / "iceberg-spark-runtime-0.jar").touch()
        programs.mkdir()
        submit = programs / "spark-submit"
        submit.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {FAKE} "$@"\n')
        submit.chmod(0o755)
        for key, value in {
            "PATH": f"{programs}:/usr/bin:/bin",
            "EXP_CONFIG_DIR": self.configs,
            "EXP_STATE_DIR": self.state,
            "EXP_JARS_DIR": jars,
            "FAKE_SPARK_PLAN": folder / "plan.json",
        }.items():
            monkeypatch.setenv(key, str(value))
        # Airflow keeps a run's conf in the params of a process, and a task's process has one run only.
        monkeypatch.setattr(dag, "PARAMS", copy.deepcopy(dag.PARAMS))
        self.specs(SPECS)
        self.plan({})
        self.starts: list[dict[str, Any]] = []
        self.up_to_date = False
        self.memo_only = False
        # `dag.test()` sleeps a second for every task that waits for another one.
        monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.05)))
        monkeypatch.setattr(start, "start_run", self._start_run)
        monkeypatch.setattr(start, "default_as_of", self._default_as_of)

    def specs(self, experiments: dict[str, Any]) -> None:
        """Write `dev.yaml` (JSON is YAML)."""
        content = {"environment": "embedded", "experiments": experiments}
        (self.configs / "dev.yaml").write_text(json.dumps(content, indent=1))

    def plan(self, tries: dict[str, list[str]]) -> None:
        """What the stages' tries do; a stage that is not named ends well."""
        (self.folder / "plan.json").write_text(json.dumps(tries))

    @property
    def hanging(self) -> list[int]:
        """The process ids of the last submit that hangs, and of its child; none before it has started."""
        path = self.folder / "pids"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    @property
    def submits(self) -> list[dict[str, Any]]:
        """Every call of spark-submit, in order."""
        path = self.folder / "submits.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def test_dag(
        self, dag_id: str = f"exp__{EXPERIMENT}", *, broken: bool = False, **kwargs: Any
    ) -> DagRunOutcome:
        """Run a DAG of the project's `dags/` by `dag.test()`; `broken`: a spec is, which shows as an import error."""
        from airflow.dag_processing.dagbag import DagBag
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        bag = DagBag(ROOT / "dags")
        assert [Path(name).name for name in bag.import_errors] == ["config_errors.py"] * broken
        run = bag.dags[dag_id].test(**kwargs)
        instances = run.get_task_instances()
        with create_session() as session:
            rows = session.scalars(
                XComModel.get_many(run_id=run.run_id, dag_ids=dag_id, key="return_value")
            ).all()
            xcoms = {row.task_id: XComModel.deserialize_value(row) for row in rows}
        return DagRunOutcome(
            state=str(run.state),
            run_id=run.run_id,
            tasks={ti.task_id: str(ti.state) for ti in instances},
            tries={ti.task_id: ti.try_number for ti in instances},
            xcoms=xcoms,
        )

    def _default_as_of(self, experiment: Any, now: datetime) -> date:
        self.starts.append({"now": now})
        return date(2026, 1, 7)

    def _start_run(self, experiment: Any, **kwargs: Any) -> Any:
        self.starts.append(kwargs)
        if self.up_to_date:
            return SimpleNamespace(run=None, up_to_date=True, message="nothing changed")
        run_id = f"run{len(self.starts)}"
        run = Run(
            run_id=run_id,
            experiment=load_experiment(experiment.id),
            as_of_dates=kwargs["as_of_dates"],
            environment="embedded",
            folder=str(self.state / "runs" / experiment.id / run_id),
            config_hash="c",
            code_version="v",
            input_fingerprint="f",
            memo_only=self.memo_only,
        )
        run.save()
        return SimpleNamespace(run=run, up_to_date=False, message=f"run {run_id}")
