"""A source whose facts hold everybody's rows: what a run stores equals what pandas computes from the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end.installation import Installation
from end_to_end.shared_lake import KEY, Lake, lake, per_user, spec, write
from exp_platform.stages import rounds, workers


def close(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.fixture(scope="module")
def made() -> Lake:
    return lake()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, made: Lake) -> Installation:
    folder = tmp_path_factory.mktemp("facts")
    write(made, folder / "lake")
    place = Installation(folder)
    place.spec(**spec(folder / "lake"))
    place.run(KEY)
    return place


def test_moments_equal_those_of_pandas(ran: Installation, made: Lake) -> None:
    users = per_user(made)
    stored = {
        (row["metric_id"], row["variant_id"]): row
        for row in ran.rows("metric_aggregates_overall", KEY)
        if row["segment"] == "all" and row["kind"] == "total"
    }
    for variant, mine in users.groupby("variant"):
        for metric in ("conversion", "revenue", "shoes", "no_category"):
            row = stored[metric, variant]
            assert row["n"] == len(mine)
            assert row["mean"][0] == close(mine[metric].mean())
            assert row["m2"][0] == close(mine[metric].var(ddof=0) * len(mine))
        row = stored["per_visit", variant]
        both = mine[["revenue", "visits"]]
        k = len(row["columns"])
        moments = np.array(row["m2"]).reshape(k, k)[:2, :2]
        assert row["mean"][:2] == close(both.mean().tolist())
        assert moments == close(np.cov(both.T, ddof=0) * len(mine))
    assert sum(row["n"] for (metric, _), row in stored.items() if metric == "shoes") == len(users)


def test_every_row_of_a_fact_is_accounted_for(ran: Installation, made: Lake) -> None:
    (row,) = ran.rows("decisions", KEY)
    rows: dict[str, Any] = json.loads(row["rows"])
    mine = made.exposures[made.exposures.exp_key == KEY]
    assert rows["exposures"]["read"] == len(made.exposures)
    assert rows["exposures"]["left_out"] == {"of other experiments": len(made.exposures) - len(mine)}
    for name in ("orders", "visits"):
        frame = getattr(made, name)
        told = rows[name]
        assert told["read"] == len(frame) == sum(told["counted"].values()) + sum(told["left_out"].values())
        assert told["left_out"]["of users without exposure"] == (~frame.uid.isin(mine.uid)).sum()
    searches = made.visits[made.visits.uid.isin(mine.uid) & (made.visits.name == "search")]
    assert 0 < rows["visits"]["left_out"]["of events that no metric reads"] <= len(searches)


@pytest.mark.parametrize("processes", [False, True])
def test_buckets_and_processes_change_nothing(
    processes: bool, ran: Installation, made: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(made, tmp_path / "lake")
    place = Installation(tmp_path)
    place.spec(**spec(tmp_path / "lake"))
    monkeypatch.setattr(rounds, "BUCKET_USERS", 200)
    if processes:
        monkeypatch.setattr(workers, "FEW_ROWS", 0)
    place.run(KEY)
    (registered,) = place.rows("experiment_registry", KEY)
    users = int((made.exposures.exp_key == KEY).sum())
    assert registered["buckets"] == -(-users // 200)  # of the experiment's users, not of the log's
    (one,), (many,) = ran.rows("decisions", KEY), place.rows("decisions", KEY)
    assert one["rows"] == many["rows"]
    means = [
        {
            (row["metric_id"], row["variant_id"], row["segment_value"]): (row["n"], *row["mean"])
            for row in at.rows("metric_aggregates_overall", KEY)
            if row["kind"] == "total"
        }
        for at in (ran, place)
    ]
    assert means[0].keys() == means[1].keys()
    for key, found in means[0].items():
        assert means[1][key] == close(found)
