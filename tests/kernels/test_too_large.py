"""One absurd value takes its metric's numbers, says so, and leaves all others as they are."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from exp_platform.aggregates import Aggregates, read_aggregates, write_aggregates
from exp_platform.analyses.registry import analyse
from exp_platform.analyses.row_codec import write_rows
from exp_platform.analyses.rows import DidRow, ResultRow, Row, Status
from exp_platform.config.analyses import NAMES
from exp_platform.config.experiment import Experiment
from kernels.cases import Data, Outcome, aggregates_of, events_experiment
from kernels.test_merge import random_data

SPEC = events_experiment()
LAST = SPEC.window.end + timedelta(days=3)  # all windows are over
DATA = random_data(300)
SUMMED = {"revenue", "order_value"}  # of the event that gets an absurd value; `capped` sums it too


SEEN = Counter(e.user for e in DATA.exposures)
# The first user of each arm who was seen in no other; of the first day, so that all windows have days.
FIRST = {
    v: next(e for e in sorted(DATA.exposures, key=lambda e: e.at) if e.variant == v and SEEN[e.user] == 1)
    for v in ("control", "blue", "amber")
}


def with_purchases(*values: float, of: str = "blue", days: float = 0.2) -> Data:
    """The data in which one user made further purchases, so many days after exposure."""
    user, at = FIRST[of].user, FIRST[of].at + timedelta(days=days)
    return Data(DATA.exposures, [*DATA.outcomes, *(Outcome(user, "purchase", at, v) for v in values)])


def day_of(data: Data, spec: Experiment = SPEC, buckets: int = 4) -> Aggregates:
    return aggregates_of(data, spec, [LAST], buckets)[0]


def rows_of(day: Aggregates, folder: Path, spec: Experiment = SPEC) -> list[Row]:
    """All analyses of what the aggregates' stage hands over, each written as a stage writes it."""
    write_aggregates(folder / "aggregates.json", [day])
    (handed,) = read_aggregates(folder / "aggregates.json")
    assert handed.too_large == day.too_large
    rows: list[Row] = []
    for name in NAMES:
        found = analyse(name, spec, handed)
        write_rows(folder / f"{name}.json", found)
        rows += found
    return rows


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((1e61,), "1e+61"),
        ((1e150,), "1e+150"),
        ((-1e200,), "1e+200"),
        ((1.7e308, 1.7e308), "beyond 1.8e308"),  # finite values whose sum is not
        ((1.7e308, -1.7e308, 1.7e308, 1.7e308, -1e307), "beyond 1.8e308"),
    ],
)
def test_metrics_of_the_value_say_it_and_the_others_live(
    values: tuple[float, ...], told: str, tmp_path: Path
) -> None:
    plain, day = day_of(DATA), day_of(with_purchases(*values))
    assert set(day.too_large["total"]) == SUMMED
    assert set(day.too_large["total"].values()) == {told}
    rows = rows_of(day, tmp_path)
    lost = [row for row in rows if row.metric_id in SUMMED]
    assert {row.status for row in lost} <= {Status.DEGENERATE, Status.NOT_APPLICABLE}
    compared = [row for row in lost if isinstance(row, ResultRow) and row.method == "ab"]
    assert len(compared) == 4
    assert all(f"value (or covariate) is {told}, too large" in str(row.message) for row in compared)
    # Metrics of other events are what they are without that purchase, to the last bit.
    others = {m.id for m in SPEC.metrics} - SUMMED - {"capped"}
    for metric in others:
        for variant in ("control", "blue", "amber"):
            was, now = plain.block(metric, variant), day.block(metric, variant)
            assert was is not None
            assert now is not None
            assert was.moments.to_json() == now.moments.to_json()
    assert Status.OK in {row.status for row in rows if row.metric_id == "converted"}


def test_a_cap_rescues_a_winsorised_metric(tmp_path: Path) -> None:
    """Its cap is the value of another user; only the series by day, which is not capped, is lost."""
    day = day_of(with_purchases(1e200))
    assert "capped" not in day.too_large["total"]
    assert "capped" in day.too_large["daily"]
    plain = day_of(with_purchases(1e6))
    assert [b.moments.to_json() for b in day.blocks if b.metric_id == "capped" and b.kind != "daily"] == [
        b.moments.to_json() for b in plain.blocks if b.metric_id == "capped" and b.kind != "daily"
    ]
    assert day.caps == plain.caps
    rows, plainly = (
        [row for row in rows_of(of, tmp_path) if row.metric_id == "capped"] for of in (day, plain)
    )
    ab, plain_ab = ([r for r in found if getattr(r, "method", "") == "ab"] for found in (rows, plainly))
    assert ab == plain_ab
    assert {row.status for row in rows if isinstance(row, DidRow)} == {Status.DEGENERATE}


def test_a_value_before_the_experiment_takes_the_metrics_whose_covariate_it_is() -> None:
    day = day_of(with_purchases(1e200, days=-2))
    assert day.too_large["total"] == dict.fromkeys(sorted(SUMMED), "1e+200")
    assert set(day.too_large["daily"]) == {"revenue", "capped"}
    assert "cohort" not in day.too_large


@pytest.mark.parametrize("buckets", [1, 2, 7])
def test_the_largest_value_of_all_buckets_is_told_and_no_bucket_counts_alone(buckets: int) -> None:
    both = [*with_purchases(1e150).outcomes, with_purchases(1e170, of="amber").outcomes[-1]]
    day = day_of(Data(DATA.exposures, both), buckets=buckets)
    assert day.too_large["total"]["revenue"] == "1e+170"
    assert [b for b in day.blocks if b.metric_id in SUMMED and b.kind == "total"] == []
    assert [row for row in day.daily if row.metric_id in SUMMED] == []


def test_what_nobody_analysed_has_does_not_count() -> None:
    """A crossover's value is nobody's; so is one outside of the metric's window, for that metric."""
    crossed = next(e for e in DATA.exposures if SEEN[e.user] == 2 and e.variant != "control")
    at = crossed.at + timedelta(hours=100)
    day = day_of(Data(DATA.exposures, [*DATA.outcomes, Outcome(crossed.user, "purchase", at, 1e200)]))
    assert day.too_large == {}
    late = day_of(with_purchases(1e200, days=2.5))
    assert set(late.too_large["total"]) == {"revenue"}  # order_value closes after two days


def test_values_up_to_the_limit_have_finite_numbers(tmp_path: Path) -> None:
    day = day_of(with_purchases(9e59))
    assert day.too_large == {}
    rows_of(day, tmp_path)
    json.loads((tmp_path / "ab.json").read_text(), parse_constant=pytest.fail)
