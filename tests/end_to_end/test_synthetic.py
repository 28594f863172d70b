"""The shipped synthetic experiment, small and untidy, through the pipeline runner; every number against pandas on raw data."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from end_to_end.conftest import CHECKOUT
from end_to_end.installation import Installation, open_files
from end_to_end.raw_events import Raw, hc2, wald
from end_to_end.references import agree, cuped, described, fieller, ratio_of_means, split, welch
from exp_platform.analyses.rows import DidRow, PretrendDeltaRow, PretrendTestRow, ResultRow, Status

FIXED_ALPHA = 0.05 * 0.9  # a tenth is spent on always-valid evidence
FAMILY = 4  # conversion, revenue, orders, order_value; pageviews is a guardrail
LEVEL = 1 - FIXED_ALPHA / FAMILY
# metric -> event, and how its outcomes make one number per user
MEASURED = {
    "conversion": ("purchase", "any"),
    "revenue": ("purchase", "sum"),
    "orders": ("purchase", "count"),
    "pageviews": ("pageview", "count"),
}
N = 7  # days on each side of exposure

TABLES_OF_THE_ISSUE = [
    "exposures",
    "outcomes",
    "experiment_registry",
    "metric_aggregates_overall",
    "metric_aggregates_daily",
    "analysis_results",
    "did_results",
    "did_pretrend_delta",
    "did_pretrend_tests",
]


def result(checkout: Installation, method: str, metric: str) -> ResultRow:
    (row,) = [r for r in checkout.results.rows(ResultRow, CHECKOUT, method=method) if r.metric_id == metric]
    return row


def test_the_data_are_as_untidy_as_the_tests_need(raw: Raw, checkout: Installation) -> None:
    folder = checkout.state / "raw" / "exp_platform" / CHECKOUT
    rows = pd.read_parquet(folder / "outcomes")
    assert rows.event_id.duplicated().sum() > 100
    assert raw.assigned.crossover.sum() > 20
    assert (raw.events.day < 0).sum() > 1000
    assert (raw.outcomes.occurred_at >= raw.cutoff).sum() == 0 < len(raw.outcomes)


def test_no_other_user_may_read_what_a_run_leaves(checkout: Installation) -> None:
    """Raw data, databases, users' rows, run folders and memos; the umask was 0."""
    assert open_files(checkout.state) == []


def test_results_are_as_of_the_last_day_of_the_window_where_it_is_over(checkout: Installation) -> None:
    (decision,) = checkout.results.decisions(CHECKOUT)
    assert decision.as_of_date == date(2026, 3, 15)
    assert decision.final


@pytest.mark.parametrize("table", TABLES_OF_THE_ISSUE)
def test_spark_reads_rows_of_every_table(checkout: Installation, table: str) -> None:
    from exp_platform.spark.session import build_spark_session

    with checkout.here():
        spark = build_spark_session("smoke_outputs")
        assert spark.table(f"iceberg.exp.{table}").count() > 0


def test_published_rows_are_the_raw_ones_without_duplicates(checkout: Installation, raw: Raw) -> None:
    exposures, outcomes = checkout.rows("exposures", CHECKOUT), checkout.rows("outcomes", CHECKOUT)
    assert sorted(row["event_id"] for row in exposures) == sorted(raw.exposures.event_id)
    assert {row["event_id"] for row in outcomes} <= set(raw.outcomes.event_id)
    used = set(raw.events[raw.events.day >= -14].event_id)
    assert used <= {row["event_id"] for row in outcomes}
    assert len(outcomes) == len({row["event_id"] for row in outcomes})


def test_users_are_assigned_by_their_first_exposure_and_crossovers_counted(
    checkout: Installation, raw: Raw
) -> None:
    (decision,) = checkout.results.decisions(CHECKOUT)
    assert decision.users == raw.assigned.variant.value_counts().to_dict()
    assert decision.crossovers == raw.assigned[raw.assigned.crossover].variant.value_counts().to_dict()


def test_srm_is_scipys_chi_square_before_and_after_crossovers_are_excluded(
    checkout: Installation, raw: Raw
) -> None:
    for users, frame in (("assigned", raw.assigned), ("analysed", raw.users)):
        counts = [int((frame.variant == arm).sum()) for arm in raw.plan.variants]
        (row,) = [
            r for r in checkout.results.rows(ResultRow, CHECKOUT, method="srm") if r.segment_value == users
        ]
        expected = split(counts, [0.5, 0.5])
        expected.pop("e_value")
        agree(row, expected)


@pytest.mark.parametrize("metric", MEASURED)
def test_ab_is_welch_and_fieller_on_users_made_by_pandas(
    checkout: Installation, raw: Raw, metric: str
) -> None:
    event, how = MEASURED[metric]
    control, treatment = raw.by_arm(raw.per_user(raw.counted(event), how))
    level = LEVEL if metric != "pageviews" else 1 - FIXED_ALPHA  # a guardrail is in no family

    row = result(checkout, "ab", metric)
    agree(
        row,
        welch(control, treatment, level) | fieller(control, treatment, level) | described(control, treatment),
    )
    assert row.significant == (row.p_value < 1 - level)


def test_a_ratio_metric_is_tested_by_the_delta_method(checkout: Installation, raw: Raw) -> None:
    sums, counts = (raw.by_arm(raw.per_user(raw.counted("purchase"), how)) for how in ("sum", "count"))
    arms = [ratio_of_means(s, c) for s, c in zip(sums, counts, strict=True)]
    (control, v0), (treatment, v1) = arms

    error = np.sqrt(v0 + v1)
    df = (v0 + v1) ** 2 / (v0**2 / (len(sums[0]) - 1) + v1**2 / (len(sums[1]) - 1))
    half = stats.t.isf((1 - LEVEL) / 2, df) * error
    effect = treatment - control
    agree(
        result(checkout, "ab", "order_value"),
        {
            "mean_control": control,
            "mean_treatment": treatment,
            "estimate": effect,
            "standard_error": error,
            "degrees_of_freedom": df,
            "p_value": 2 * stats.t.sf(abs(effect / error), df),
            "ci_low": effect - half,
            "ci_high": effect + half,
        },
    )


@pytest.mark.parametrize("metric", MEASURED)
def test_cuped_is_a_regression_on_arms_and_the_pre_period(
    checkout: Installation, raw: Raw, metric: str
) -> None:
    event, how = MEASURED[metric]
    frame = pd.DataFrame(
        {
            "y": raw.per_user(raw.counted(event), how),
            "x": raw.per_user(raw.before(event), how),
            "arm": raw.users.variant,
        }
    )
    level = LEVEL if metric != "pageviews" else 1 - FIXED_ALPHA
    row = result(checkout, "cuped", metric)
    agree(row, cuped(frame, "control", "treatment", level))
    assert row.health == "ok"


def test_a_ratio_is_adjusted_by_both_of_its_sides_before_exposure(checkout: Installation, raw: Raw) -> None:
    """A user's linearised value is regressed on the arms, the orders' value and number in the pre-period."""
    measured = {how: raw.per_user(raw.counted("purchase"), how) for how in ("sum", "count")}
    before = {f"pre_{how}": raw.per_user(raw.before("purchase"), how) for how in ("sum", "count")}
    frame = pd.DataFrame({**measured, **before, "arm": raw.users.variant})
    of_arm = frame.groupby("arm")[["sum", "count"]].transform("mean")
    ratio = of_arm["sum"] / of_arm["count"]
    linear = ratio + (frame["sum"] - ratio * frame["count"]) / of_arm["count"]
    design = pd.get_dummies(frame.arm, dtype=float).join(frame[list(before)])
    fit = sm.OLS(linear, design).fit()
    row = result(checkout, "cuped", "order_value")
    agree(row, {"estimate": fit.params["treatment"] - fit.params["control"], "theta": fit.params["pre_sum"]})
    left = fit.resid.groupby(frame.arm)
    # But for the slopes' own error
    agree(row, {"standard_error": np.sqrt((left.var() / left.size()).sum())}, 1e-3)
    assert row.covariates == "pre_order_value.numerator, pre_order_value.denominator"


@pytest.mark.parametrize("segment", ["device_type", "subscription_tier", "user_type"])
def test_segments_are_welch_within_what_was_known_at_first_exposure(
    checkout: Installation, raw: Raw, segment: str
) -> None:
    values = sum(raw.users[name].nunique() for name in ("device_type", "subscription_tier", "user_type"))
    level = 1 - FIXED_ALPHA / (values * FAMILY)
    orders = raw.per_user(raw.counted("purchase"), "count")
    stored = checkout.results.rows(ResultRow, CHECKOUT, method="segments")
    rows = [r for r in stored if r.metric_id == "orders" and r.test != "interaction"]
    assert len(rows) == values
    for value, users in raw.users.groupby(segment):
        (row,) = [r for r in rows if (r.segment, r.segment_value) == (segment, value)]
        agree(row, welch(*raw.by_arm(orders[users.index]), level))


@pytest.mark.parametrize("metric", MEASURED)
def test_did_is_a_regression_of_unit_differences_with_hc2_errors(
    checkout: Installation, raw: Raw, metric: str
) -> None:
    days = raw.days(*MEASURED[metric])
    pre, post = days[range(-N, 0)].mean(axis=1), days[range(N)].mean(axis=1)
    change = post - pre
    (row,) = [r for r in checkout.results.rows(DidRow, CHECKOUT) if r.metric_id == metric]

    slope, error = hc2(change, raw.users.variant[change.index] == "treatment")
    agree(row, {"estimate": slope, "standard_error": error, "statistic": slope / error})
    control, treatment = raw.by_arm(change)
    expected = welch(control, treatment, 0.95)
    of_difference = (
        "n_control",
        "n_treatment",
        "degrees_of_freedom",
        "p_value",
        "log10_p",
        "ci_low",
        "ci_high",
    )
    agree(row, {name: expected[name] for name in of_difference})
    for period, values in (("pre", pre), ("post", post)):
        c, t = raw.by_arm(values)
        agree(row, {f"{period}_mean_control": c.mean(), f"{period}_mean_treatment": t.mean()})
    assert 0 < len(days) < len(raw.users)  # those exposed in the last week are not there yet


@pytest.mark.parametrize("metric", MEASURED)
def test_pretrends_are_a_direct_wald_test(checkout: Installation, raw: Raw, metric: str) -> None:
    days = raw.days(*MEASURED[metric])[range(-N, 0)]
    control, treatment = (days.loc[side.index] for side in raw.by_arm(days[-1]))
    (row,) = [r for r in checkout.results.rows(PretrendTestRow, CHECKOUT) if r.metric_id == metric]

    statistic, df, denominator, p = wald(control, treatment, reference=-1)
    agree(
        row,
        {"wald": statistic, "degrees_of_freedom": df, "denominator_df": denominator, "p_value": p},
    )
    assert (row.reference_day, row.days, df) == (-1, N, N - 1)
    assert row.parallel == (p >= 0.05)


@pytest.mark.parametrize("metric", MEASURED)
def test_each_days_delta_is_welch_of_the_day_minus_the_reference_day(
    checkout: Installation, raw: Raw, metric: str
) -> None:
    days = raw.days(*MEASURED[metric])
    rows = {r.day: r for r in checkout.results.rows(PretrendDeltaRow, CHECKOUT) if r.metric_id == metric}
    assert sorted(rows) == list(range(-N, 0))
    for day, row in rows.items():
        control, treatment = raw.by_arm(days[day])
        agree(row, {"mean_control": control.mean(), "mean_treatment": treatment.mean()})
        assert row.delta == pytest.approx(treatment.mean() - control.mean(), rel=1e-9)
        if day == -1:
            assert (row.delta_from_reference, row.standard_error) == (0.0, 0.0)
            continue
        expected = welch(*raw.by_arm(days[day] - days[-1]), 0.95)
        agree(row, {name: expected[name] for name in ("standard_error", "ci_low", "ci_high")})
        assert row.delta_from_reference == pytest.approx(expected["estimate"], rel=1e-9, abs=1e-12)


def test_a_ratio_has_no_days_and_says_so(checkout: Installation) -> None:
    (did,) = [r for r in checkout.results.rows(DidRow, CHECKOUT) if r.metric_id == "order_value"]
    (test,) = [r for r in checkout.results.rows(PretrendTestRow, CHECKOUT) if r.metric_id == "order_value"]
    assert {did.status, test.status} == {Status.NOT_APPLICABLE}


def test_the_daily_table_is_pandas_count_of_each_local_date(checkout: Installation, raw: Raw) -> None:
    zone = raw.plan.timezone
    exposed_on = raw.users.exposed_at.dt.tz_convert(zone).dt.date
    rows = raw.counted("purchase")
    local = rows.assign(on=rows.occurred_at.dt.tz_convert(zone).dt.date)
    stored = [r for r in checkout.results.daily(CHECKOUT) if r.metric_id == "revenue"]
    assert len(stored) == 14 * 2
    for row in stored:
        day = local[(local.on == row.local_date) & (local.variant == row.variant_id)]
        assert row.new_users == ((exposed_on == row.local_date) & (raw.users.variant == row.variant_id)).sum()
        assert row.active_users == day.user_id.nunique()
        assert row.value_sum == pytest.approx(day.value.sum(), rel=1e-9)


def test_the_true_lift_lies_in_its_interval_and_the_decision_ships_it(checkout: Installation) -> None:
    row, decision = result(checkout, "ab", "conversion"), checkout.decision(CHECKOUT)
    assert row.ci_low < 0.03 < row.ci_high  # effect_lift_conversion of the spec
    assert (decision["winner"], decision["action"], decision["trust"]) == ("treatment", "ship", "ok")
    assert (decision["effect"], decision["lift"]) == (row.estimate, row.relative)
