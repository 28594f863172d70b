"""Deleting an experiment leaves nothing of it and everything of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError, LeaseError
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.deletion import delete_experiment
from exp_platform.tables.lease import Lease, holder_of
from exp_platform.tables.schemas import TABLES
from stages.frozen_runs import a_run, an_experiment, carry_out


def experiments_in(environment: Environment, name: str) -> set[str]:
    return set(table(open_catalog(environment), name).scan().to_arrow()["experiment_id"].to_pylist())


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    return path


def test_rows_raw_data_runs_and_memo_go_and_another_experiments_stay(environment: Environment) -> None:
    kept, gone = [], []
    for experiment_id, paths in (("exp_a", gone), ("exp_a_2", kept)):
        run = a_run(environment, "r1", of=an_experiment(experiment_id))
        carry_out(run)
        paths += [
            run.path / "run.json",
            write(Path(environment.raw_dir, "exp_platform", experiment_id, "exposures", "part-0.parquet")),
            write(Path(environment.memos_dir) / f"{experiment_id}.md"),
            write(Path(environment.memos_dir) / f"{experiment_id}.json"),
            write(Path(environment.memos_dir) / f"{experiment_id}.html"),
            write(Path(environment.memos_dir) / experiment_id / "appendix.md"),
            write(Path(environment.memos_dir) / experiment_id / "over_time.png"),
        ]
    told = delete_experiment(environment, "exp_a")
    written = TABLES.keys() - {"unit_days", "forgotten_users", "late_days"}
    assert {name: experiments_in(environment, name) for name in written} == {
        name: {"exp_a_2"} for name in written
    }
    assert [path.exists() for path in gone] == [False] * 7
    assert [path.exists() for path in kept] == [True] * 7
    assert {"1 rows of decisions", "3 rows of exposures", "2 rows of outcomes"} <= set(told)
    assert holder_of(environment, "exp_a") is None
    assert delete_experiment(environment, "exp_a") == ["nothing was stored of exp_a"]


def test_an_experiment_that_is_being_run_is_not_deleted(environment: Environment) -> None:
    carry_out(a_run(environment, "r1"))
    Lease("exp_a", "airflow run 1", environment).acquire()
    with pytest.raises(LeaseError, match="exp_a is being run by airflow run 1"):
        delete_experiment(environment, "exp_a")
    assert experiments_in(environment, "decisions") == {"exp_a"}


@pytest.mark.parametrize("not_an_id", ["", "..", "../exp_a", "exp_a/r1", "/", "EXP_A", "exp a", "x" * 65])
def test_what_is_no_id_deletes_nothing(environment: Environment, not_an_id: str) -> None:
    memo = write(Path(environment.memos_dir) / "exp_a.md")
    with pytest.raises(ConfigError, match="allowed are 1 to 64 of a-z, 0-9 and _"):
        delete_experiment(environment, not_an_id)
    assert memo.exists()
