"""What is stored counts as up to date while its inputs, rows and words are those of a run that would be made now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from exp_platform.code_version import code_version
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import ConfigError
from exp_platform.results.reader import Results
from exp_platform.stages.run import Run
from exp_platform.stages.start import start_run
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.selection import selection
from exp_platform.tables.write import delete_rows, replace_rows
from stages.frozen_runs import D1, D2, D3
from stages.started_runs import of_files, store

LONG_AFTER = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return of_files(tmp_path)


def test_a_result_whose_memo_was_not_written_is_not_up_to_date(
    environment: Environment, experiment: Experiment
) -> None:
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    assert start_run(experiment, environment, as_of_dates=[D1]).up_to_date
    (Path(environment.memos_dir) / "exp_a.json").unlink()
    run = start_run(experiment, environment, as_of_dates=[D1]).run
    assert run is not None
    assert [stage.name for stage in run.stages] == ["memo"]
    assert Run.load(run.path / "run.json") == run


def in_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exp_platform.stages.start.wording_version", lambda: "0.1.0+words")


def test_a_changed_word_makes_the_memo_anew_and_nothing_else(
    environment: Environment, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(environment, start_run(experiment, environment, as_of_dates=[D1, D2]))
    in_other_words(monkeypatch)
    said = start_run(experiment, environment, as_of_dates=[D1], dry_run=True)
    assert (said.up_to_date, said.memo_only) == (False, True)
    assert said.message.endswith("Its results stand; the memo alone is written anew.")
    run = start_run(experiment, environment, as_of_dates=[D1], with_them=[D1, D2]).run
    assert run is not None
    assert ([stage.name for stage in run.stages], run.as_of_dates) == (["memo"], (D1,))
    forced = start_run(experiment, environment, as_of_dates=[D1], force=True).run
    assert forced is not None
    assert not forced.memo_only


def test_a_changed_word_beside_other_numbers_or_days_is_a_whole_run(
    environment: Environment, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memo that was only worded anew would tell old numbers in new words, and call them up to date."""
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    in_other_words(monkeypatch)
    backfill = start_run(experiment, environment, as_of_dates=[D1], with_them=[D1, D2]).run
    assert backfill is not None
    assert (backfill.memo_only, backfill.as_of_dates) == (False, (D1, D2))
    monkeypatch.setattr("exp_platform.stages.start.code_version", lambda: "0.1.0+numbers")
    run = start_run(experiment, environment, as_of_dates=[D1]).run
    assert run is not None
    assert not run.memo_only
    assert len(run.stages) > 8


@pytest.mark.parametrize(
    "table_name", ["analysis_results", "metric_aggregates_overall", "data_quality_results"]
)
def test_a_result_whose_rows_are_gone_is_not_up_to_date(
    environment: Environment, experiment: Experiment, table_name: str
) -> None:
    """A decision without its rows was called up to date for ever."""
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    assert start_run(experiment, environment, as_of_dates=[D1]).up_to_date
    (stored,) = Results(environment).decisions("exp_a")
    key = {"experiment_id": "exp_a", "run_id": stored.run_id}
    catalog = open_catalog(environment)
    kept = table(catalog, table_name).scan(selection(key)).to_arrow().to_pylist()[1:]
    replace_rows(catalog, table_name, key, kept, "somebody")
    assert Results(environment).missing_rows(stored) == {table_name: 1}
    assert start_run(experiment, environment, as_of_dates=[D1]).run is not None


def test_the_same_config_code_and_input_are_up_to_date_until_forced(
    environment: Environment, experiment: Experiment
) -> None:
    store(environment, start_run(experiment, environment, as_of_dates=[D1, D2]))
    again = start_run(experiment, environment, as_of_dates=[D2])
    assert (again.run, again.up_to_date) == (None, True)
    assert again.message == "exp_a as of 2025-03-13 is up to date: same config, code and input."
    renamed = replace(experiment, owner="somebody else", description="in other words")
    assert start_run(renamed, environment, as_of_dates=[D1, D2]).up_to_date
    assert not start_run(experiment, environment, as_of_dates=[D2], force=True).up_to_date


def test_a_run_takes_other_days_along_that_are_not_stored_and_none_makes_a_run(
    environment: Environment, experiment: Experiment
) -> None:
    """As the runs of a backfill do: one computes what all of them are about."""
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    days = [D1, D2, D3, date(2025, 3, 20)]  # the last of which is one that counts as D3
    up_to_date = start_run(experiment, environment, as_of_dates=[D1], with_them=days)
    assert up_to_date.run is None
    first = start_run(experiment, environment, as_of_dates=[D2], with_them=days)
    assert store(environment, first).as_of_dates == (D2, D3)
    assert "2 days" in first.message
    assert start_run(experiment, environment, as_of_dates=[D3], with_them=days).up_to_date
    assert start_run(experiment, environment, as_of_dates=[D1], with_them=days).up_to_date


def test_a_run_on_tables_that_do_not_know_the_newest_decision_is_refused_until_forced(
    environment: Environment, experiment: Experiment
) -> None:
    """As after the restore of an older backup: a test that was taken since would be taken again."""
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    run = store(environment, start_run(experiment, environment, as_of_dates=[D2]))
    delete_rows(open_catalog(environment), "decisions", selection({"run_id": run.run_id}), "an older catalog")
    with pytest.raises(ConfigError, match=rf"run {run.run_id} has decided.*`exp repair --forward`.*force"):
        start_run(experiment, environment, as_of_dates=[D2])
    assert start_run(experiment, environment, as_of_dates=[D2], force=True).run is not None


def test_what_was_decided_in_another_environment_is_not_looked_for(
    environment: Environment, experiment: Experiment
) -> None:
    """A laptop's run folders lie beside those of runs on a cluster's tables."""
    run = store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    delete_rows(open_catalog(environment), "decisions", selection({"run_id": run.run_id}), "another catalog")
    frozen = run.path / "run.json"
    frozen.write_text(
        frozen.read_text().replace(f'"environment": "{environment.name}"', '"environment": "other"')
    )
    assert start_run(experiment, environment, as_of_dates=[D1]).run is not None


def test_a_new_day_config_code_or_skipped_stage_is_run(
    environment: Environment, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    assert start_run(experiment, environment, as_of_dates=[D1, D2]).run is not None
    changed = replace(experiment, metrics=experiment.metrics[:1])
    assert start_run(changed, environment, as_of_dates=[D1]).run is not None
    assert start_run(experiment, environment, as_of_dates=[D1], skipped=["cuped"]).run is not None
    monkeypatch.setattr("exp_platform.stages.start.code_version", lambda: "0.1.0+other")
    assert start_run(experiment, environment, as_of_dates=[D1]).run is not None


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_says_what_made_the_stored_result_out_of_date(
    environment: Environment, experiment: Experiment, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    def why(of: Experiment, **asked: Any) -> str:
        said = start_run(of, environment, as_of_dates=[D1], dry_run=dry_run, **asked).message
        return said.partition("What is stored is out of date: ")[2]

    assert why(experiment) == "", "nothing is stored"
    store(environment, start_run(experiment, environment, as_of_dates=[D1]))
    changed = replace(experiment, metrics=experiment.metrics[:1])
    assert why(changed, skipped=["cuped"]) == "another config, other stages skipped."
    assert why(experiment, force=True) == "", "it is not, and runs all the same"
    monkeypatch.setattr("exp_platform.stages.start.code_version", lambda: "0.1.0+other")
    assert why(experiment) == f"other code ({code_version()}, now 0.1.0+other)."
