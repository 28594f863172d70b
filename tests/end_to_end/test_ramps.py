"""Simpson's paradox through all stages: the treatment is better on every day, and worse among all users pooled."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.fs as pafs
import pytest
import statsmodels.api as sm

from end_to_end.installation import Installation
from exp_platform.analyses.rows import DidRow, ResultRow
from exp_platform.config.allocation import Allocation
from exp_platform.config.loading import load_experiment
from exp_platform.synth.files import write_raw

FIRST, SECOND = date(2026, 3, 2), date(2026, 3, 9)
SPEC = {
    "owner": "search",
    "hypothesis": "Better ranking raises the share of users who buy.",
    "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
    "window": {"start": FIRST, "days": 14, "timezone": "Europe/Berlin"},
    "ramp": [
        {"start": FIRST, "shares": {"control": 0.9, "treatment": 0.1}},
        {"start": SECOND, "shares": {"control": 0.3, "treatment": 0.7}},
    ],
    # Of control's users 19 % buy who come at the start, and 5 % of those who come at the end.
    "source": {
        "kind": "synthetic",
        "n_users": 24_000,
        "base_conversion": 0.12,
        "conversion_trend": -0.15,
        "effect_lift_conversion": 0.03,
    },
    "metrics": [
        {"id": "conversion", "type": "proportion", "event": "purchase", "role": "primary"},
        {
            "id": "order_value",
            "type": "ratio",
            "numerator": {"sum": "purchase"},
            "denominator": {"count": "purchase"},
        },
    ],
    "segments": ["device_type"],
}


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The experiment run once."""
    made = Installation(tmp_path_factory.mktemp("ramp"))
    made.spec(id="ramp", **SPEC)
    made.run("ramp")
    return made


@pytest.fixture(scope="module")
def users(ramp: Installation) -> pd.DataFrame:
    """One row per user by pandas: arm, period of the first exposure, and whether there was an order after it."""
    folder = ramp.state / "raw" / "exp_platform" / "ramp"
    exposures, outcomes = pd.read_parquet(folder / "exposures"), pd.read_parquet(folder / "outcomes")
    first = exposures.set_index("user_id")
    orders = outcomes[outcomes.event == "purchase"].join(first.exposed_at, on="user_id")
    end = pd.Timestamp("2026-03-16", tz="Europe/Berlin")
    after = orders[(orders.occurred_at >= orders.exposed_at) & (orders.occurred_at < end)]
    local = first.exposed_at.dt.tz_convert("Europe/Berlin").dt.date
    return pd.DataFrame(
        {
            "treated": (first.variant_id == "treatment").astype(float),
            "second": (local >= SECOND).astype(float),
            "bought": first.index.isin(after.user_id).astype(float),
        }
    )


def rows(installation: Installation, method: str, experiment_id: str = "ramp") -> dict[str, ResultRow]:
    found = installation.results.rows(ResultRow, experiment_id, method=method)
    return {f"{r.metric_id}{r.segment_value}": r for r in found}


def test_the_effect_is_that_of_a_regression_with_interactions_and_has_the_right_sign(
    ramp: Installation, users: pd.DataFrame
) -> None:
    pooled = users.groupby("treated").bought.mean()
    assert pooled[1.0] < pooled[0.0] - 0.005
    centred = users.second - users.second.mean()
    design = np.column_stack([np.ones(len(users)), users.treated, centred, users.treated * centred])
    fit = sm.OLS(users.bought, design).fit(cov_type="HC2")
    share, gap = users.second.mean(), fit.params.iloc[3]
    of_shares = share * (1 - share) * gap**2 / (len(users) - 1)

    row = rows(ramp, "ab")["conversionall"]

    assert row.estimate == pytest.approx(fit.params.iloc[1], rel=1e-9, abs=0)
    assert row.standard_error == pytest.approx(np.sqrt(fit.bse.iloc[1] ** 2 + of_shares), rel=1e-9, abs=0)
    assert abs(row.estimate - 0.03) < 3 * row.standard_error
    assert row.significant
    decision = ramp.decision("ramp")
    assert (decision["winner"], decision["action"], decision["trust"]) == ("treatment", "ship", "ok")


def test_no_alarm_is_raised_about_the_split(ramp: Installation, users: pd.DataFrame) -> None:
    srm = rows(ramp, "srm")
    first = users[users.second == 0].treated.agg(["sum", "size"])
    second = users[users.second == 1].treated.agg(["sum", "size"])
    statistic = sum(
        (treated - n * share) ** 2 / (n * share * (1 - share))
        for (treated, n), share in ((first, 0.1), (second, 0.7))
    )
    assert srm["assigned"].statistic == pytest.approx(statistic, rel=1e-9, abs=0)
    assert srm["assigned"].verdict == "ok"
    assert srm[f"{FIRST} × assigned"].n_treatment == first["sum"]
    memo = (ramp.state / "memos" / "ramp" / "appendix.md").read_text()
    assert "from 2026-03-09 control 30.0 %, treatment 70.0 %" in memo


def test_every_analysis_has_numbers(ramp: Installation) -> None:
    for method in ("cuped", "segments", "ab"):
        assert {r.status for r in rows(ramp, method).values()} == {"OK"}, method
    # A ratio has no days
    assert {r.status for r in ramp.results.rows(DidRow, "ramp")} == {"OK", "NOT_APPLICABLE"}


def test_stored_aggregates_hold_the_periods_too(ramp: Installation) -> None:
    before = rows(ramp, "srm"), rows(ramp, "ab")
    ramp.run("ramp", skipped=("aggregates",), force=True)
    assert (rows(ramp, "srm"), rows(ramp, "ab")) == before


def test_a_period_that_was_not_split_as_planned_stops_the_decision(tmp_path: Path) -> None:
    """Both halves of the window are as large, and the allocations came in the wrong order: totals are as planned."""
    made = Installation(tmp_path)
    made.spec(id="swapped", **SPEC)
    with made.here():
        planned = load_experiment("swapped")
        wrong = (Allocation(FIRST, (0.3, 0.7)), Allocation(SECOND, (0.9, 0.1)))
        folder = made.state / "raw" / "exp_platform" / "swapped"
        write_raw(replace(planned, ramp=wrong), pafs.LocalFileSystem(), str(folder))

    made.run("swapped", generate_synth=False)

    row = rows(made, "srm", "swapped")["assigned"]
    users = (row.n_control or 0) + (row.n_treatment or 0)
    assert (row.n_control or 0) / users == pytest.approx(0.6, abs=0.01)
    assert row.verdict == "mismatch"
    decision = made.decision("swapped")
    assert (decision["trust"], decision["action"]) == ("failed", "investigate")
    assert "SRM_MISMATCH" in {reason["code"] for reason in decision["reasons"]}
