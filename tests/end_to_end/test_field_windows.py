"""Windows of the field through a whole run: a change of clocks, and a window that opens late and never closes.

The right numbers are counted here by pandas and tested by SciPy, from the same files. Skipped where the data are absent.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from end_to_end.field import FIELD, NEEDED, spec_of
from end_to_end.installation import Installation

pytestmark = NEEDED
DAYS = pd.Timedelta(days=1)


def run(tmp_path: Path, name: str) -> Installation:
    place = Installation(tmp_path)
    place.run(spec_of(place, name))
    return place


def joined(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users by first exposure, and each of their outcomes beside it."""
    exposures = pd.read_parquet(FIELD / name / "exposures.parquet")
    outcomes = pd.read_parquet(FIELD / name / "outcomes.parquet")
    exposures["exposed_at"] = pd.to_datetime(exposures["exposed_at"], utc=True)
    outcomes["occurred_at"] = pd.to_datetime(outcomes["occurred_at"], utc=True)
    users = exposures.sort_values("exposed_at").groupby("user_id").first()
    return users, outcomes.join(users, on="user_id", how="inner")


def row_of(place: Installation, name: str, metric: str) -> dict[str, object]:
    rows = [
        r for r in place.rows("analysis_results", name) if (r["method"], r["metric_id"]) == ("ab", metric)
    ]
    (row,) = (r for r in rows if r["segment"] == "all")
    return row


def test_users_of_the_last_evening_before_clocks_go_forward_are_in_the_decision(tmp_path: Path) -> None:
    users, events = joined("dst_last_hour")
    inside = events[
        (events.occurred_at >= events.exposed_at) & (events.occurred_at < events.exposed_at + 7 * DAYS)
    ]
    users["conv"] = users.index.isin(inside.user_id[inside.event == "purchase"]).astype(float)
    arms = {arm: rows.conv for arm, rows in users.groupby("variant_id")}
    assert len(users) == 4400
    place = run(tmp_path, "dst_last_hour")
    row = row_of(place, "dst_last_hour", "conv")
    assert (row["n_control"], row["n_treatment"]) == (len(arms["control"]), len(arms["treatment"]))
    right = stats.ttest_ind(arms["treatment"], arms["control"], equal_var=False).pvalue
    assert row["p_value"] == pytest.approx(right, rel=1e-9)
    assert 0.05 < right < 0.06
    (decision,) = place.rows("decisions", "dst_last_hour")
    assert (decision["as_of_date"], decision["final"]) == (date(2026, 4, 5), True)
    assert decision["action"] != "ship"


def test_users_whose_window_has_not_opened_are_no_zeros(tmp_path: Path) -> None:
    users, events = joined("from_day_only")
    closes = pd.Timestamp("2026-03-16", tz="UTC")
    visits = events[(events.event == "visit") & (events.occurred_at >= events.exposed_at + 7 * DAYS)]
    late = visits[visits.occurred_at < closes]
    opened = users[users.exposed_at + 7 * DAYS < closes]
    shares = opened.index.isin(late.user_id)
    place = run(tmp_path, "from_day_only")
    row = row_of(place, "from_day_only", "late_visit")
    for arm in ("control", "treatment"):
        of_arm = (opened.variant_id == arm).to_numpy()
        assert row[f"n_{arm}"] == of_arm.sum()
        assert row[f"mean_{arm}"] == pytest.approx(shares[of_arm].mean(), rel=1e-12)
    assert row["mean_control"] == pytest.approx(0.226, abs=5e-4)
