"""What went wrong elsewhere and must not here: the list, and those tests of it that have no other home."""

from __future__ import annotations

import ast
import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from end_to_end.installation import Installation
from end_to_end.own_data import START, ZONE, events, events_spec
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.plans import AnalysisPlan
from exp_platform.pipelines.runner import StageFailedError
from exp_platform.tables.schemas import RESULT_TABLES
from kernels.cases import Data, Exposure, Outcome, aggregates_of, events_experiment, local

HERE = Path(__file__).parent
NAMED = "test_peer_defect_"

# Each defect, and the test that is named after it.
DEFECTS = {
    "a variance that cancels, or turns negative, at mean 1e8": "stats/test_moments.py::variance_cancels_far_from_zero",
    "p = 0 far out, by 2 * (1 - cdf)": "stats/test_intervals.py::p_underflows_far_out",
    "an O'Brien-Fleming rule that inflates to 6-8 %": "stats/test_group_sequential.py::an_obrien_fleming_rule_that_inflates_to_6_to_8_percent",
    "an error that grows with every look": "stats/test_sequential.py::peeking_every_day_does_not_inflate_the_error",
    "a relative interval that is wrong when the arms are unequal": "stats/test_relative.py::relative_interval_is_right_at_unequal_arms",
    "distinct users summed over days": "test_peer_defects.py::distinct_users_are_not_summed_over_days",
    "1 - rho^2 reported as the variance reduction": "stats/test_adjustment.py::one_minus_rho_squared_is_never_the_reduction",
    "a reduction that is not of the effect's variance": "analyses/test_cuped.py::the_reduction_is_of_the_effects_variance_and_in_days",
    "revenue per converter averaged over all users": "stats/test_arms.py::revenue_per_converter_is_not_a_mean_over_all_users",
    "segments that ignore first exposure": "test_peer_defects.py::a_segment_is_that_of_the_first_exposure",
    "crossovers counted in both variants": "test_peer_defects.py::a_crossover_counts_in_one_variant_at_most",
    "a pre-trends table recreated for each experiment, wiping the others'": "end_to_end/test_idempotence.py::a_rerun_leaves_the_neighbours_rows_as_they_are",
    "CUPED on a covariate that has nothing to do with the metric": "stats/test_adjustment.py::an_unrelated_covariate_is_told_by_its_gain",
    "the same, and nobody is told": "analyses/test_cuped.py::a_covariate_that_has_nothing_to_do_with_the_metric_is_named_as_such",
    "an SRM alarm because the planned split is unequal": "stats/test_srm.py::planned_shares_need_not_be_equal",
    "intervals that disagree with adjusted p-values": "analyses/test_correction.py::intervals_agree_with_what_is_rejected_and_the_family_with_statsmodels",
    "late rows that are missed": "test_peer_defects.py::late_rows_count_on_the_day_they_happened",
    "a series that a metric added in mid-test does not have": "test_peer_defects.py::a_metric_added_in_mid_test_gets_its_past_days",
    "results erased by an update after the raw data's retention": "test_peer_defects.py::results_outlive_their_raw_data",
}


def names_in(path: Path) -> set[str]:
    """The names of a file's test functions."""
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_defect_has_its_test_and_every_such_test_is_listed() -> None:
    listed = {place.partition("::")[0]: set[str]() for place in DEFECTS.values()}
    for place in DEFECTS.values():
        file, _, name = place.partition("::")
        listed[file].add(NAMED + name)
    files = (p for p in HERE.rglob("test_*.py") if NAMED in p.read_text())
    found = {
        str(path.relative_to(HERE)): {t for t in names_in(path) if t.startswith(NAMED)} for path in files
    }
    assert found == listed


# ---- counted by the kernels

PLAIN = AnalysisPlan(enabled=("srm", "ab"), pre_period_days=4, did_days=3)
SPEC = events_experiment(analyses=PLAIN)
LAST = SPEC.window.end + timedelta(days=3)


def at(day: int, hours: float = 12.0):
    return local(SPEC, day, hours)


def test_peer_defect_distinct_users_are_not_summed_over_days() -> None:
    """Three users who are there on three days are three users: in the total, in the conversions and in new users."""
    users = ("a", "b", "c")
    data = Data(
        [Exposure(user, "blue", at(day)) for user in users for day in range(3)],
        [Outcome(user, "view", at(day, 13)) for user in users for day in range(3)],
    )
    (found,) = aggregates_of(data, SPEC, [LAST])
    block = found.block("converted", "blue")
    assert block is not None
    assert (found.assigned["blue"], block.moments.n, block.successes) == (3, 3, 3)
    daily = [row for row in found.daily if (row.metric_id, row.variant_id) == ("converted", "blue")]
    assert sum(row.active_users for row in daily) == 9  # what a sum over days would have said
    assert sum(row.new_users for row in daily) == 3
    assert sum(row.value_sum for row in daily) == 3


def test_peer_defect_a_segment_is_that_of_the_first_exposure() -> None:
    """Of a later exposure neither the device nor the outcomes' own day makes another member of the segment."""
    data = Data(
        [
            Exposure("a", "blue", at(1), {"device": "mobile", "tier": "free"}),
            Exposure("a", "blue", at(2), {"device": "desktop", "tier": "gold"}),
            Exposure("b", "blue", at(1), {"device": "desktop", "tier": "free"}),
        ],
        [Outcome("a", "view", at(3)), Outcome("b", "view", at(0))],  # b's view is from before the exposure
    )
    (found,) = aggregates_of(data, SPEC, [LAST])
    sizes = {
        (b.segment_value): (b.moments.n, b.successes)
        for b in found.blocks
        if (b.segment, b.metric_id, b.kind, b.variant_id) == ("device", "converted", "total", "blue")
    }
    assert sizes == {"mobile": (1, 1), "desktop": (1, 0)}


@pytest.mark.parametrize(
    "crossovers, expected", [("exclude", {"blue": 1, "amber": 1}), ("first", {"blue": 2, "amber": 1})]
)
def test_peer_defect_a_crossover_counts_in_one_variant_at_most(
    crossovers: str, expected: dict[str, int]
) -> None:
    data = Data(
        [
            Exposure("a", "blue", at(1)),
            Exposure("a", "amber", at(2)),
            Exposure("b", "blue", at(1)),
            Exposure("c", "amber", at(1)),
        ],
        [Outcome(user, "view", at(3)) for user in "abc"],
    )
    spec = events_experiment(
        analyses=AnalysisPlan(enabled=("srm", "ab"), pre_period_days=4, did_days=3, crossovers=crossovers)  # type: ignore[arg-type]
    )
    (found,) = aggregates_of(data, spec, [LAST])
    assert {v: n for v, n in found.assigned.items() if n} == {"blue": 2, "amber": 1}
    assert {v: n for v, n in found.crossovers.items() if n} == {"blue": 1}
    counted = {v: found.block("converted", v) for v in ("blue", "amber")}
    assert {v: block.moments.n for v, block in counted.items() if block} == expected
    assert {v: block.successes for v, block in counted.items() if block} == expected


# ---- through the pipeline

DAYS = tuple(START.date() + timedelta(days=d) for d in range(2, 6))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An experiment of its own data with results of four days, of which a part of the outcomes came late."""
    made = Installation(tmp_path_factory.mktemp("shop"))
    exposures, outcomes = events(users=1200)
    spec = events_spec(made, made.folder / "raw", exposures, outcomes.iloc[::2])
    made.run(spec, as_of_dates=DAYS)
    return made


def delivered(installation: Installation) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What lies in the raw folder, with times of Berlin's clocks."""
    raw = installation.folder / "raw"
    exposures, outcomes = (pd.read_csv(raw / f"{name}.csv") for name in ("exposures", "outcomes"))
    for frame, column in ((exposures, "exposed_at"), (outcomes, "occurred_at")):
        frame[column] = pd.to_datetime(frame[column]).dt.tz_localize(ZONE)
    return exposures, outcomes


def orders_per_user(installation: Installation, day: date) -> dict[str, float]:
    """Orders from exposure to the end of a day over the users exposed by then, by arm, with pandas."""
    exposures, outcomes = delivered(installation)
    end = pd.Timestamp(day + timedelta(days=1), tz=ZONE)
    users = exposures[exposures.exposed_at < end].set_index("user_id")
    joined = outcomes.join(users[["variant_id", "exposed_at"]], on="user_id", how="inner")
    counted = joined[(joined.occurred_at >= joined.exposed_at) & (joined.occurred_at < end)]
    per_user = counted.groupby("user_id").size().reindex(users.index, fill_value=0)
    return per_user.groupby(users.variant_id).mean().to_dict()


@pytest.mark.e2e
def test_peer_defect_late_rows_count_on_the_day_they_happened(shop: Installation) -> None:
    """The other half of the outcomes comes days later: every day that is run again has them."""
    path = shop.folder / "raw" / "outcomes.csv"
    _, outcomes = events(users=1200)
    outcomes.to_csv(path, index=False)
    shop.run("shop", as_of_dates=DAYS)
    rows = shop.results.rows(ResultRow, "shop", method="ab")
    found = {r.as_of_date: r for r in rows if r.metric_id == "bought"}
    exposures, outcomes = delivered(shop)
    for day in DAYS:
        end = pd.Timestamp(day + timedelta(days=1), tz=ZONE)
        users = exposures[exposures.exposed_at < end].set_index("user_id")
        joined = outcomes.join(users[["exposed_at"]], on="user_id", how="inner")
        bought = joined[
            (joined.occurred_at >= joined.exposed_at) & (joined.occurred_at < end)
        ].user_id.unique()
        share = users.index.isin(bought)[users.variant_id == "treatment"].mean()
        assert found[day].mean_treatment == pytest.approx(share, rel=1e-12, abs=0)


@pytest.mark.e2e
def test_peer_defect_a_metric_added_in_mid_test_gets_its_past_days(shop: Installation) -> None:
    path = shop.configs / "experiments" / "shop.yaml"
    spec = yaml.safe_load(path.read_text())
    assert "orders" not in {m["id"] for m in spec["metrics"]}
    spec["metrics"].append({"id": "orders", "type": "count", "event": "order"})
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    shop.run("shop", as_of_dates=DAYS)
    rows = [r for r in shop.results.rows(ResultRow, "shop", method="ab") if r.metric_id == "orders"]
    assert sorted(r.as_of_date for r in rows) == list(DAYS)
    for row in rows:
        expected = orders_per_user(shop, row.as_of_date)
        assert [row.mean_control, row.mean_treatment] == pytest.approx(
            [expected["control"], expected["treatment"]], rel=1e-12, abs=0
        )


@pytest.mark.e2e
def test_peer_defect_results_outlive_their_raw_data(shop: Installation) -> None:
    """A rerun without the raw files is refused by name, and every stored row stays as it is."""
    raw = shop.folder / "raw"
    before = {name: shop.rows(name, "shop") for name in (*RESULT_TABLES, "decisions")}
    assert all(before[name] for name in ("decisions", "analysis_results", "metric_aggregates_overall"))
    os.rename(raw, raw.with_name("expired"))
    try:
        with pytest.raises(StageFailedError, match=r"exposures\.csv"):
            shop.run("shop", as_of_dates=DAYS, force=True)
    finally:
        os.rename(raw.with_name("expired"), raw)
    after = {name: shop.rows(name, "shop") for name in before}
    # data_quality_results names what was missing, too
    of_results = [name for name in before if name != "data_quality_results"]
    assert {name: sorted(map(repr, after[name])) for name in of_results} == {
        name: sorted(map(repr, before[name])) for name in of_results
    }
    assert np.isfinite(
        [r.estimate for r in shop.results.rows(ResultRow, "shop", method="ab") if r.estimate]
    ).all()
