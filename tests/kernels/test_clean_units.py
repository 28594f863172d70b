"""A table of one row per user: exposures and events made of it, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import UnitsSource
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.in_context import Cleaned
from kernels.cases import TABLE, units_experiment
from kernels.raw_rows import NOW, rows

UNITS = replace(
    units_experiment("exclude"),
    source=UnitsSource(
        TABLE, {"A": "control", "B": "blue", "C": "amber"}, ("visit", "spend"), ("history",), {}
    ),
)


def units(*values: tuple[Any, ...], spec: Experiment = UNITS) -> Cleaned:
    names = "user_id variant_id outcome.visit outcome.spend covariate.history"
    return clean_bucket({"units": [rows(names, *values)]}, spec, NOW)


def test_units_become_exposures_and_events() -> None:
    done = units(("1", "A", "TRUE", "2.5", "10"), ("2", "B", "FALSE", None, None))
    start = UNITS.window.starts_at()
    assert done.exposures.select(["user_id", "variant_id", "exposed_at"]).to_pylist() == [
        {"user_id": "1", "variant_id": "control", "exposed_at": start},
        {"user_id": "2", "variant_id": "blue", "exposed_at": start},
    ]
    assert [tuple(r.values())[:4] for r in done.outcomes.to_pylist()] == [
        ("1", "visit", start, 1.0),
        ("2", "visit", start, 0.0),
        ("1", "spend", start, 2.5),
        ("1", "history", start - timedelta(days=1), 10.0),
    ]
    assert done.measured.rows_in == {"units": 2}
    assert done.measured.nulls == {
        "units.user_id": 0,
        "units.variant_id": 0,
        "units.visit": 0,
        "units.spend": 1,
    }
    assert done.measured.users == {"2025-03-27": {"control": 1, "blue": 1}}


def test_equal_units_are_different_users_but_a_repeated_id_is_counted() -> None:
    done = units(("1", "A", "1", "0", "3"), ("2", "A", "1", "0", "3"), ("1", "B", "1", "0", "3"))
    assert done.measured.duplicates == {"units": 1}
    assert len(done.exposures) == 2


def test_units_of_an_unknown_variant_and_unreadable_outcomes() -> None:
    done = units(("1", "A", "maybe", "1", "1"), ("2", "Z", "1", "1", "1"))
    assert done.measured.unknown_variants == {"Z": 1}
    assert done.measured.malformed == {"units.visit": 1}
    assert done.measured.nulls["units.visit"] == 0


@pytest.mark.parametrize("at", ["2025-03-28 10:00", datetime(2025, 3, 28, 9, tzinfo=UTC)])
def test_units_may_have_their_time_of_exposure(at: Any) -> None:
    names = "user_id variant_id exposed_at outcome.visit outcome.spend covariate.history"
    done = clean_bucket({"units": [rows(names, ("1", "A", at, 1.0, 1.0, 1.0))]}, UNITS, NOW)
    assert done.exposures["exposed_at"].to_pylist() == [datetime(2025, 3, 28, 9, tzinfo=UTC)]
    assert done.outcomes["occurred_at"].to_pylist() == [
        datetime(2025, 3, day, 9, tzinfo=UTC) for day in (28, 28, 27)
    ]
