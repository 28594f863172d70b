"""Rows follow from the experiment alone; arms have the promised means; faults are there when they are asked for."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from exp_platform.config.allocation import Allocation
from exp_platform.synth import rows
from exp_platform.synth.propensity import truths
from exp_platform.synth.rows import chunk_rows, user_ids
from synth.synthetic import START, raw, synthetic, users


def content_hash(*tables: pa.Table) -> str:
    """Of the values alone: neither Arrow's buffers nor the printing of times take part."""
    plain = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for t in tables
        for column in t.columns
    ]
    return hashlib.sha256(repr([column.to_pylist() for column in plain]).encode()).hexdigest()


def hash_of(**settings: object) -> str:
    made = chunk_rows(synthetic(400, **settings), 0)
    return content_hash(made.exposures, made.outcomes, made.late)


def test_rows_are_those_of_the_first_release() -> None:
    """Published numbers rest on these rows: a change of NumPy or of this code that changes them must be noticed."""
    everything = {
        "duplicate_share": 0.1,
        "late_share": 0.1,
        "crossover_share": 0.1,
        "revenue_tail": "lognormal",
    }
    assert (hash_of(), hash_of(arms=3, **everything)) == (
        "a5544e45589e8befc1fc1bd5cf045a223b06ef1e9026c2e996bf0ee071557e00",
        "1c8024b967e6f0536541a014ee434781cef40a35668fee0cd725424b4c89b970",
    )


def test_seed_and_id_give_other_rows() -> None:
    assert len({hash_of(), hash_of(seed=43), hash_of(experiment_id="exp_other")}) == 3


def test_a_fault_leaves_the_other_rows_as_they_were() -> None:
    plain, faulty = chunk_rows(synthetic(400), 0), chunk_rows(synthetic(400, crossover_share=0.2), 0)
    assert content_hash(faulty.outcomes) == content_hash(plain.outcomes)
    assert len(faulty.exposures) > len(plain.exposures)
    assert faulty.exposures.slice(0, len(plain.exposures)).equals(plain.exposures)


def test_the_rows_of_a_user_do_not_depend_on_how_many_there_are() -> None:
    few, many = chunk_rows(synthetic(100), 0).exposures, chunk_rows(synthetic(300), 0).exposures
    assert few["user_id"].to_pylist() == many["user_id"].to_pylist()[: len(few)]


def test_ids_are_unique_and_times_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", 500)  # several chunks
    exposures, outcomes = raw(synthetic(1200))
    assert exposures.user_id.is_unique
    assert exposures.event_id.is_unique
    assert outcomes.event_id.is_unique
    assert exposures.user_id.str.fullmatch(r"u\d{7}").all()
    assert set(outcomes.user_id) <= set(exposures.user_id)
    start = pd.Timestamp("2026-01-05", tz="UTC")
    assert exposures.exposed_at.between(start, start + pd.Timedelta(days=14), inclusive="left").all()
    assert outcomes.occurred_at.between(
        start - pd.Timedelta(days=14), start + pd.Timedelta(days=14), "left"
    ).all()
    assert outcomes.occurred_at.min() < start - pd.Timedelta(days=13)
    assert (outcomes.value[outcomes.event == "pageview"] == 1).all()
    assert len(exposures) / 1200 == pytest.approx(0.85, abs=4 * math.sqrt(0.85 * 0.15 / 1200))


def test_user_ids_grow_past_seven_digits() -> None:
    assert user_ids(np.array([9_999_999, 10_000_000, 12_345_678])).to_pylist() == [
        "u9999999",
        "u10000000",
        "u12345678",
    ]


@pytest.fixture(scope="module")
def three_arms() -> pd.DataFrame:
    return users(*raw(synthetic(60_000, arms=3, effect_lift_revenue=(0.0, 0.2))))


def test_arms_have_the_true_means(three_arms: pd.DataFrame) -> None:
    lifts = {"effect_lift_revenue": (0.0, 0.2)}
    for truth in truths(synthetic(60_000, arms=3, **lifts)):
        arm = three_arms[three_arms.variant_id == truth.variant_id]
        for found, expected in (
            ((arm.post_orders > 0).astype(float), truth.conversion),
            (arm.post_orders, truth.orders),
            (arm.post_revenue, truth.revenue),
        ):
            assert found.mean() == pytest.approx(expected, abs=4 * found.std() / math.sqrt(len(arm)))
    late = three_arms[three_arms.exposed_at > pd.Timestamp("2026-01-17", tz="UTC")]
    expected = np.mean([truth.conversion for truth in truths(synthetic(10, arms=3))])
    assert (late.post_orders > 0).mean() == pytest.approx(
        expected, abs=4 * math.sqrt(0.11 * 0.89 / len(late))
    )


def test_pre_period_predicts_the_outcome(three_arms: pd.DataFrame) -> None:
    control = three_arms[three_arms.variant_id == "control"]
    assert (control.pre_orders > 0).mean() == pytest.approx(0.10, abs=4 * math.sqrt(0.09 / len(control)))
    for one, other, least in (
        (control.pre_orders > 0, control.post_orders > 0, 0.3),
        (control.pre_revenue, control.post_revenue, 0.3),
        (control.pre_views, control.post_views, 0.6),
    ):
        assert np.corrcoef(one, other)[0, 1] > least


def test_without_a_propensity_the_pre_period_says_nothing() -> None:
    found = users(*raw(synthetic(20_000, propensity_sd=0.0)))
    assert abs(np.corrcoef(found.pre_revenue, found.post_revenue)[0, 1]) < 4 / math.sqrt(len(found))


def test_heavy_tail_has_the_same_mean_and_a_larger_largest() -> None:
    values = {}
    for tail in ("normal", "lognormal"):
        _, outcomes = raw(
            synthetic(30_000, revenue_tail=tail, revenue_sd=25.0 if tail == "lognormal" else 3.0)
        )
        values[tail] = outcomes[outcomes.event == "purchase"].value
        assert values[tail].mean() == pytest.approx(
            12.5, abs=4 * values[tail].std() / math.sqrt(len(values[tail]))
        )
    assert values["lognormal"].max() > 10 * values["normal"].max()


def test_faults_are_there() -> None:
    experiment = synthetic(
        20_000, duplicate_share=0.05, late_share=0.1, crossover_share=0.04, actual_shares=(0.6, 0.4)
    )
    part = chunk_rows(experiment, 0)
    exposures, outcomes = (
        part.exposures.to_pandas(),
        pd.concat([part.outcomes.to_pandas(), part.late.to_pandas()]),
    )
    for frame in (exposures, outcomes):
        repeated = frame[frame.duplicated("event_id")]
        share = len(repeated) / frame.event_id.nunique()
        assert share == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / len(frame)))
        assert frame.drop_duplicates().event_id.is_unique  # a duplicate is the whole row again
    assert len(part.late) / len(outcomes) == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / len(outcomes)))
    once = exposures.drop_duplicates().sort_values("exposed_at")
    crossed = once.groupby("user_id").variant_id.nunique() > 1
    assert crossed.mean() == pytest.approx(0.04, abs=4 * math.sqrt(0.04 / len(crossed)))
    control = (once.drop_duplicates("user_id").variant_id == "control").mean()
    assert control == pytest.approx(0.6, abs=4 * math.sqrt(0.24 / len(crossed)))


def test_all_users_may_come_on_the_first_day_and_be_in_one_of_several_experiments() -> None:
    exposures, _ = raw(synthetic(900, arrival="first_day", replicates=9))
    start = pd.Timestamp(START, tz="UTC")
    assert exposures.exposed_at.between(start, start + pd.Timedelta(days=1), inclusive="left").all()
    users = exposures.drop_duplicates("user_id")
    assert set(users.groupby("replicate").size().index) == {str(i) for i in range(9)}


@pytest.mark.parametrize("trend", [0.05, -0.05])
def test_a_pre_trend_concerns_treated_users_before_exposure_only(trend: float) -> None:
    exposures, outcomes = raw(synthetic(20_000, pre_trend=trend, effect_lift_conversion=(0.0,)))
    rows = outcomes[outcomes.event == "pageview"].merge(
        exposures[["user_id", "variant_id", "exposed_at"]], on="user_id"
    )
    day = (rows.occurred_at - rows.exposed_at) // pd.Timedelta(days=1)
    n = exposures.variant_id.value_counts()

    def ratio(first: int, last: int) -> float:
        inside = rows[day.between(first, last)].variant_id.value_counts() / n
        return float(inside["t1"] / inside["control"])

    assert ratio(0, 6) == pytest.approx(1.0, abs=0.06)
    if trend > 0:  # rises to the full level at exposure
        assert ratio(-1, -1) == pytest.approx(1 - 0.05 * 0.5, abs=0.12)
        assert ratio(-14, -8) == pytest.approx(1 - 0.05 * 10.5, abs=0.08)
    else:  # starts from the full level when the history begins
        assert ratio(-14, -8) > ratio(-7, -1) + 0.1


def test_users_are_assigned_by_the_shares_of_the_day_they_come_on() -> None:
    plain = synthetic(40_000)
    ramp = (Allocation(START, (0.9, 0.1)), Allocation(START + timedelta(days=6), (0.5, 0.5)))
    exposures, _ = raw(replace(plain, ramp=ramp))
    early = exposures.exposed_at < pd.Timestamp(ramp[1].start, tz="UTC")
    shares = (exposures.variant_id == "t1").groupby(early).agg(["mean", "size"])
    for is_early, share in ((True, 0.1), (False, 0.5)):
        error = math.sqrt(share * (1 - share) / shares.loc[is_early, "size"])
        assert abs(shares.loc[is_early, "mean"] - share) < 4 * error
    # Nothing else of a user hangs on the arm.
    same = [c for c in exposures.columns if c != "variant_id"]
    pd.testing.assert_frame_equal(exposures[same], raw(plain)[0][same])


def test_the_conversion_rate_drifts_about_its_mean_in_all_arms_alike() -> None:
    experiment = synthetic(120_000, conversion_trend=-0.12, propensity_sd=1.0)
    found = users(*raw(experiment))
    day = (found.exposed_at - pd.Timestamp(START, tz="UTC")).dt.days
    for truth, lift in zip(truths(experiment), (0.0, 0.03), strict=True):
        assert truth.conversion == pytest.approx(0.10 + lift, rel=1e-12)
        of_arm = found[found.variant_id == truth.variant_id]
        for days, drift in (((0, 6), 0.03), ((7, 13), -0.03)):
            part = of_arm[day.loc[of_arm.index].between(*days)]
            rate = truth.conversion + drift
            assert abs((part.post_orders > 0).mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / len(part))


def _kept(table: pa.Table, column: str, until: datetime) -> pa.Table:
    return table.filter([moment < until for moment in table[column].to_pylist()])


@pytest.mark.parametrize(
    "until",
    [
        datetime(2026, 1, 1, tzinfo=UTC),  # before the window
        datetime(2026, 1, 6, tzinfo=UTC),
        datetime(2026, 1, 10, 13, 30, 1, 5, tzinfo=ZoneInfo("Asia/Kolkata")),
        datetime(2026, 1, 18, 23, tzinfo=ZoneInfo("America/New_York")),
        datetime(2030, 1, 1, tzinfo=UTC),
    ],
)
def test_what_has_not_occurred_is_not_there_and_what_has_is_never_another(until: datetime) -> None:
    """A window that included tomorrow was red every day, for rows of the future."""
    experiment = synthetic(400, late_share=0.2, duplicate_share=0.1, crossover_share=0.2, pre_trend=0.02)
    whole, part = chunk_rows(experiment, 0), chunk_rows(experiment, 0, until)
    for name, column in (("exposures", "exposed_at"), ("outcomes", "occurred_at"), ("late", "occurred_at")):
        assert getattr(part, name).equals(_kept(getattr(whole, name), column, until))
