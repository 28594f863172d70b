"""A triggered experiment of facts goes from files to a decision, and its numbers are those of DuckDB on the same files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from end_to_end.installation import Installation
from exp_platform.analyses.rows import ResultRow

SEEN, DAYS = 3, 4  # days to see the checkout in, and of the metrics' window from then on
# A user's number over the window from :began on, NULL without a row.
NUMBERS = {
    "revenue": "coalesce(sum(amount), 0)",
    "products": "count(DISTINCT sku)",
    "days": "count(DISTINCT ts::DATE)",
    "last_order": "coalesce(last(amount ORDER BY ts, amount), 0)",
    "largest": "coalesce(max(amount), 0)",
    "loyal": "(count(amount) >= 2)::DOUBLE",
    "spender": "(coalesce(sum(amount), 0) >= 25)::DOUBLE",
}
MEASURED = {
    "revenue": {"type": "mean", "value": "revenue", "role": "primary"},
    "products": {"type": "count_distinct", "distinct": "product"},
    "days": {"type": "count_distinct", "distinct": "day"},
    "last_order": {"type": "last", "value": "revenue"},
    "largest": {"type": "max", "value": "revenue"},
    "loyal": {"type": "proportion", "at_least": 2},
    "spender": {"type": "proportion", "value": "revenue", "at_least": 25},
}


def write_data(folder: Path, moves: bool) -> None:
    """1,000 users in two arms; where the treatment moves the trigger, four of ten see the checkout in control and six in treatment."""
    rng = np.random.default_rng(7)
    exposures, orders, pages = [], [], []
    for user in range(1000):
        arm = "short" if user % 2 else "control"
        at = datetime(2026, 3, 2) + timedelta(minutes=int(rng.integers(5 * 1440)))  # noqa: DTZ001 (the window is in UTC)
        exposures.append({"uid": f"u{user}", "arm": arm, "ts": at})
        share = 0.6 if moves and arm == "short" else 0.4
        if rng.random() < share:
            seen = at + timedelta(minutes=int(rng.integers(SEEN * 1440)))
            pages.append({"uid": f"u{user}", "ts": seen, "name": "checkout_seen"})
        pages.append({"uid": f"u{user}", "ts": at, "name": "home"})
        for _ in range(rng.poisson(3)):
            when = at + timedelta(minutes=int(rng.integers(-1440, 8 * 1440)))
            amount, sku = round(float(rng.exponential(10)), 2), f"s{rng.integers(5)}"
            orders.append({"uid": f"u{user}", "ts": when, "amount": amount, "sku": sku})
    for name, rows in (("exposures", exposures), ("orders", orders), ("pages", pages)):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


def spec_of(folder: Path) -> dict[str, object]:
    window = {"to_day": DAYS}
    columns = {"user_id": "uid", "occurred_at": "ts"}
    return {
        "id": "checkout",
        "owner": "growth",
        "hypothesis": "A shorter checkout earns more per user who sees it.",
        "variants": [{"id": "control", "control": True}, {"id": "short"}],
        "window": {"start": "2026-03-02", "days": 5},
        "source": {
            "kind": "events",
            "exposures": {
                "path": str(folder / "exposures.parquet"),
                "columns": {"user_id": "uid", "variant_id": "arm", "exposed_at": "ts"},
            },
            "facts": {
                "orders": {
                    "path": str(folder / "orders.parquet"),
                    "columns": columns,
                    "values": {"revenue": "amount"},
                    "dimensions": {"product": "sku"},
                },
                "pages": {"path": str(folder / "pages.parquet"), "columns": {**columns, "event": "name"}},
            },
        },
        "trigger": {"of": "pages", "event": "checkout_seen", "within": SEEN},
        "metrics": [{"id": name, "of": "orders", "window": window, **m} for name, m in MEASURED.items()],
        "analyses": {"pre_period_days": 0},
        "quality": {"max_stale_days": 30},
    }


def by_duckdb(folder: Path, *, triggered: bool) -> dict[tuple[str, str], tuple[int, float]]:
    """By metric and arm the users and their mean, from the trigger on or of all exposed users from exposure on."""
    began = "min(p.ts)" if triggered else "e.ts"
    seen = f"p.name = 'checkout_seen' AND p.ts >= e.ts AND p.ts < e.ts + INTERVAL {SEEN} DAY"
    users = f"""
        SELECT e.uid, e.arm, {began} AS began FROM '{folder}/exposures.parquet' e
        {"" if triggered else "LEFT"} JOIN '{folder}/pages.parquet' p ON p.uid = e.uid AND {seen} GROUP BY e.uid, e.arm, e.ts
    """
    found = {}
    for metric, number in NUMBERS.items():
        rows = duckdb.sql(f"""
            SELECT arm, count(*), avg(number) FROM (
                SELECT u.uid, u.arm, {number} AS number FROM ({users}) u
                LEFT JOIN '{folder}/orders.parquet' o ON o.uid = u.uid
                    AND o.ts >= u.began AND o.ts < u.began + INTERVAL {DAYS} DAY
                GROUP BY u.uid, u.arm) GROUP BY arm
        """).fetchall()
        found |= {(metric, arm): (users_, mean) for arm, users_, mean in rows}
    return found


@pytest.fixture
def platform(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@pytest.mark.parametrize("moves", [False, True])
def test_triggered_and_diluted_rows_equal_sql_and_a_moved_trigger_is_not_trusted(
    platform: Installation, tmp_path: Path, moves: bool
) -> None:
    write_data(tmp_path, moves)
    experiment = platform.spec(**spec_of(tmp_path))
    platform.run(experiment)

    rows = platform.results.rows(ResultRow, experiment)
    for method, triggered in (("ab", True), ("diluted", False)):
        expected, of_method = (
            by_duckdb(tmp_path, triggered=triggered),
            [r for r in rows if r.method == method],
        )
        assert {r.metric_id for r in of_method} == set(NUMBERS)
        for row in of_method:
            n_control, mean_control = expected[row.metric_id, "control"]
            n_treatment, mean_treatment = expected[row.metric_id, "short"]
            assert (row.n_control, row.n_treatment) == (n_control, n_treatment)
            assert row.mean_control == pytest.approx(mean_control, rel=1e-9)
            assert row.mean_treatment == pytest.approx(mean_treatment, rel=1e-9)

    split = {r.segment_value: r.verdict for r in rows if r.method == "srm"}
    assert (split["assigned"], split["triggered"]) == ("ok", "mismatch" if moves else "ok")
    reasons = {reason["code"] for reason in platform.decision(experiment)["reasons"]}
    assert ("SRM_MISMATCH" in reasons) == moves
    memo = next((platform.state / "memos").glob("*/appendix.md")).read_text()
    assert "## Effect on all exposed users" in memo
    assert "pages.checkout_seen within 3 days of first exposure" in memo.replace("`", "").replace("\\", "")
