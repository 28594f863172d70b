"""What is needed of each input table follows from the experiment alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from exp_platform.config.experiment import Experiment
from exp_platform.config.spec import ExperimentSpec
from exp_platform.stages.wanted import EVERYTHING, wanted_of

SPECS = Path(__file__).parent.parent / "config" / "specs" / "valid"
# From 2 to 29 March in Berlin, whose clocks change on the 29th, after 14 days of history and one more, and with 7 days for the last user
START, END = datetime(2026, 2, 14, 23, tzinfo=UTC), datetime(2026, 4, 5, 22, tzinfo=UTC)


def experiment(name: str = "facts_full") -> Experiment:
    return ExperimentSpec.model_validate(yaml.safe_load((SPECS / f"{name}.yaml").read_text())).resolve()


def test_of_a_fact_the_days_that_count_and_the_rows_that_metrics_measure() -> None:
    wanted = wanted_of(experiment(), "orders")
    assert (wanted.time, wanted.start, wanted.end) == ("occurred_at", START, END)
    assert wanted.zone == "Europe/Berlin"
    assert "orders.revenue" in {one.name for one in wanted.series}
    assert {one.fact for one in wanted.series} == {"orders"}


def test_of_a_log_of_many_experiments_those_days_of_its_own() -> None:
    wanted = wanted_of(experiment(), "exposures")
    assert (wanted.key, wanted.time, wanted.start, wanted.end) == ("checkout_v2", "exposed_at", START, END)


def test_everything_of_tables_that_are_one_experiments_own() -> None:
    assert wanted_of(experiment(), "identities") == EVERYTHING
    assert wanted_of(experiment("events_full"), "exposures") == EVERYTHING
    assert wanted_of(experiment("events_full"), "outcomes") == EVERYTHING
