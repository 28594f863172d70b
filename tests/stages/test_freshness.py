"""A fact that was not delivered is told, though other tables are fresh; one that is rarely heard of is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from exp_platform.checks import CheckResult
from exp_platform.config.sources import EventsSource, Fact, Series
from exp_platform.kernels.measured import Measured
from exp_platform.stages.quality_checks import judge
from exp_platform.stages.quality_evidence import Evidence
from kernels.cases import TABLE, events_experiment

FACTS = ("orders", "returns")
SOURCE = EventsSource(
    TABLE,
    None,
    {},
    "none",
    facts=tuple(Fact(name, TABLE) for name in FACTS),
    series=tuple(Series(name, name) for name in FACTS),
)
SPEC = replace(events_experiment(timezone="UTC"), source=SOURCE)
AS_OF = SPEC.window.end


def freshness(newest: dict[str, date], rows: dict[str, int]) -> CheckResult:
    said = {name: day.isoformat() for name, day in newest.items()}
    fresh = {"exposures": AS_OF.isoformat(), "outcomes": AS_OF.isoformat()}
    measured = Measured(newest=fresh | said, in_series=rows)
    (found,) = (one for one in judge(Evidence(SPEC, AS_OF, measured, None)) if one.check == "freshness")
    return found


def days_before(days: int) -> date:
    return date.fromordinal(AS_OF.toordinal() - days)


def test_a_fact_that_stopped_is_told_beside_a_fresh_one() -> None:
    found = freshness({"orders": days_before(3), "returns": AS_OF}, {"orders": 9_000, "returns": 9_000})
    assert found.status == "failed"
    assert found.observed == 3
    assert f"the newest row of orders is of {days_before(3)}, 3 days before {AS_OF}" in found.message
    assert "returns" not in found.message


@pytest.mark.parametrize(
    ("newest", "rows"),
    [
        pytest.param(days_before(3), 20, id="a few rows a week leave gaps"),
        pytest.param(days_before(1), 9_000, id="as many days as are allowed"),
        pytest.param(AS_OF, 9_000, id="fresh"),
    ],
)
def test_a_silence_that_may_be_chance_is_none(newest: date, rows: int) -> None:
    assert (
        freshness({"orders": newest, "returns": AS_OF}, {"orders": rows, "returns": 9_000}).status == "passed"
    )


def test_a_fact_without_any_row_is_told_by_another_check() -> None:
    assert freshness({"returns": AS_OF}, {"returns": 9_000}).status == "passed"
