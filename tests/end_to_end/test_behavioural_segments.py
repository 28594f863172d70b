"""Segments by pre-period behaviour, through the pipeline runner: every user against pandas, and frozen for good."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from end_to_end.installation import Installation
from end_to_end.raw_events import Plan, Raw
from end_to_end.references import agree, welch
from exp_platform.analyses.rows import ResultRow, Status

ID = "exp_power_users"
EARLY, LATE = date(2026, 3, 4), date(2026, 3, 11)
PLAN = Plan(("control", "treatment"), "2026-03-02", 10)
SEGMENTS = [
    "device_type",
    {"name": "power_user", "top": "10%", "by": "pageviews"},
    {"name": "spender", "top": "5%", "by": "revenue"},
]


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "owner": "growth",
        "hypothesis": "Power users like it.",
        "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
        "window": {"start": "2026-03-02", "days": 10},
        "source": {"kind": "synthetic", "n_users": 5000, "seed": 3, "crossover_share": 0.01},
        "metrics": [
            {"id": "orders", "type": "count", "event": "purchase", "role": "primary"},
            {"id": "revenue", "type": "mean", "event": "purchase", "role": "informational"},
            {"id": "pageviews", "type": "count", "event": "pageview", "role": "informational"},
        ],
        "segments": SEGMENTS,
        "analyses": {"did": False, "pretrends": False, "stability": False, "cuped": False},
        **changes,
    }


class Frozen:
    """The installation after runs of an early day, a late one and the early one again, and what pandas reads."""

    def __init__(self, made: Installation) -> None:
        self.made = made
        made.entries(**{ID: spec()})
        self.registered = []
        for day in (EARLY, LATE, EARLY):
            made.run(ID, as_of_dates=[day], force=True)
            (row,) = [r for r in made.results.experiments() if r["experiment_id"] == ID]
            self.registered.append(json.loads(row["thresholds"]))
        folder = made.state / "raw" / "exp_platform" / ID
        self.raw = {EARLY: Raw(folder, PLAN, last=2), LATE: Raw(folder, PLAN)}

    def values(self, day: date, segment: str) -> pd.Series:
        """Users' pre-period values as of a day."""
        raw = self.raw[day]
        if segment == "power_user":
            return raw.per_user(raw.before("pageview"), "count")
        return raw.per_user(raw.before("purchase"), "sum")


@pytest.fixture(scope="module", name="frozen")
def _frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return Frozen(Installation(tmp_path_factory.mktemp("behaviour")))


TOPS = {"power_user": 0.10, "spender": 0.05}


@pytest.mark.parametrize("segment", TOPS)
def test_the_threshold_is_the_exact_quantile_of_the_first_publication(frozen: Frozen, segment: str) -> None:
    values = np.sort(frozen.values(EARLY, segment).to_numpy())[::-1]
    expected = values[int(np.ceil(TOPS[segment] * len(values))) - 1]
    assert expected > 0
    (found,) = [
        t for t in frozen.registered[0] if ("pageview" in t["definition"]) == (segment == "power_user")
    ]
    assert found["value"] == pytest.approx(expected, rel=1e-12)
    assert found["share"] == pytest.approx(np.mean(values >= expected * (1 - 1e-12)))
    assert (found["users"], found["as_of_date"]) == (len(values), EARLY.isoformat())
    later = np.sort(frozen.values(LATE, segment).to_numpy())[::-1]
    if segment == "spender":  # another day would give another threshold
        assert later[int(np.ceil(0.05 * len(later))) - 1] != pytest.approx(expected)


def test_it_stays_whatever_day_is_run_and_is_told_with_each_days_results(frozen: Frozen) -> None:
    assert frozen.registered[0] == frozen.registered[1] == frozen.registered[2]
    for decision in frozen.made.results.decisions(ID):
        assert sorted(decision.thresholds) == ["power_user", "spender"]
        assert [t.to_json() for t in decision.thresholds.values()] == frozen.registered[0]
        run_ids = {t.run_id for t in decision.thresholds.values()}
        assert run_ids.isdisjoint({decision.run_id})  # the first run's rows were replaced by the third


@pytest.mark.parametrize("day", [EARLY, LATE])
@pytest.mark.parametrize("segment", TOPS)
def test_every_user_is_where_the_frozen_threshold_puts_them(frozen: Frozen, day: date, segment: str) -> None:
    (threshold,) = [
        t["value"]
        for t in frozen.registered[0]
        if ("pageview" in t["definition"]) == (segment == "power_user")
    ]
    raw = frozen.raw[day]
    top = frozen.values(day, segment) >= threshold * (1 - 1e-12)
    orders = raw.per_user(raw.counted("purchase"), "count")
    stored = frozen.made.results.rows(ResultRow, ID, day, method="segments")
    for value, users in (("top", top), ("rest", ~top)):
        (row,) = [
            r for r in stored if (r.segment, r.segment_value) == (segment, value) and r.test != "interaction"
        ]
        control, treatment = raw.by_arm(orders[users])
        assert (row.n_control, row.n_treatment) == (len(control), len(treatment))
        if row.ci_level is None:  # of a few users at the top there is no test yet
            assert (row.status, segment, value, day) == (Status.INSUFFICIENT_DATA, "spender", "top", EARLY)
        else:
            agree(row, welch(control, treatment, row.ci_level))


def test_the_memo_tells_who_the_top_are(frozen: Frozen) -> None:
    memo = (frozen.made.state / "memos" / ID / "appendix.md").read_text()
    assert "power_user = top: at least" in memo
    assert "top 10 % by count of pageview in the 14 days before 2026-03-02 (UTC)" in memo
    assert "**Do the effects differ between the values?**" in memo


def test_another_definition_gets_a_threshold_and_the_old_one_is_kept(frozen: Frozen) -> None:
    changed = [{"name": "power_user", "top": "20%", "by": "pageviews"}]
    frozen.made.entries(**{ID: spec(segments=changed)})
    frozen.made.run(ID, as_of_dates=[LATE])
    (row,) = [r for r in frozen.made.results.experiments() if r["experiment_id"] == ID]
    now = json.loads(row["thresholds"])
    assert now[:2] == frozen.registered[0]
    values = np.sort(frozen.values(LATE, "power_user").to_numpy())[::-1]
    assert now[2]["value"] == values[int(np.ceil(0.2 * len(values))) - 1]
    frozen.made.entries(**{ID: spec()})
    frozen.made.run(ID, as_of_dates=[LATE])
    newest = frozen.made.results.latest_decision(ID)
    assert newest is not None
    assert [t.to_json() for t in newest.thresholds.values()] == frozen.registered[0]


def test_the_joint_rows_are_there_for_all_segments(frozen: Frozen) -> None:
    rows = [
        r
        for r in frozen.made.results.rows(ResultRow, ID, EARLY, method="segments")
        if r.test == "interaction"
    ]
    assert sorted(r.segment for r in rows) == ["device_type", "power_user", "spender"]
