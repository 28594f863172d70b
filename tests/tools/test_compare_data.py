"""The data of `benchmarks/compare.py` are what its text says."""

from __future__ import annotations

import uuid
from datetime import date, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from exp_platform.config.environment import project_root
from exp_platform.config.loading import load_experiment

USERS = 3_000


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(project_root() / "benchmarks")
    import compare_data

    compare_data.make(tmp_path / "data", USERS)
    compare_data.make(tmp_path / "again", USERS)
    compare_data.make(tmp_path / "other", USERS, seed=16)
    return tmp_path / "data"


def test_the_data_are_what_the_page_says(data: Path) -> None:
    exposures = ds.dataset(data / "exposures").to_table()
    outcomes = ds.dataset(data / "outcomes").to_table()
    assert pc.count_distinct(exposures["user_id"]).as_py() == USERS
    assert all(uuid.UUID(one).version == 4 for one in exposures["user_id"].to_pylist())
    assert len(outcomes) / USERS == pytest.approx(7.4, rel=0.05)
    assert set(pc.unique(outcomes["event"]).to_pylist()) == {"pageview", "add_to_cart", "purchase", "refund"}
    twice = len(outcomes) - pc.count_distinct(outcomes["event_id"]).as_py()
    assert twice / len(outcomes) == pytest.approx(0.001, rel=0.5)
    values = outcomes["value"].drop_null()
    assert pc.max(values).as_py() > 20 * pc.mean(values).as_py()
    # Which arm and how active a user is are unrelated; of users who met both arms there are a few.
    by_user = exposures.group_by("user_id").aggregate([("variant_id", "count_distinct")])
    assert 0 < pc.sum(pc.equal(by_user["variant_id_count_distinct"], 2)).as_py() < 0.005 * USERS
    first = exposures.group_by("user_id").aggregate([("exposed_at", "min")])
    assert pc.max(first["exposed_at_min"]).as_py().date() < date(2026, 3, 16)


def test_a_file_is_one_day_in_the_order_of_its_times(data: Path) -> None:
    files = sorted((data / "outcomes").iterdir())
    days = [date(2026, 2, 16) + timedelta(days=day) for day in range(42)]
    assert [file.name for file in files] == [f"day={day}.parquet" for day in days]
    for file, day in zip(files, days, strict=True):
        at = pq.read_table(file)["occurred_at"].to_pylist()
        assert at == sorted(at)
        assert {one.date() for one in at} == {day}


def test_the_same_seed_gives_the_same_files_and_another_one_others(data: Path) -> None:
    files = sorted(file.relative_to(data) for file in data.rglob("*.parquet"))
    assert all((data / file).read_bytes() == (data.parent / "again" / file).read_bytes() for file in files)
    assert all((data / file).read_bytes() != (data.parent / "other" / file).read_bytes() for file in files)


def test_the_spec_has_four_metrics_with_covariates(data: Path) -> None:
    experiment = load_experiment("compare", data / "compare.yaml")
    assert {metric.id: len(metric.covariates) for metric in experiment.metrics} == {
        "conversion": 1,
        "revenue": 1,
        "pageviews": 1,
        "order_value": 2,
    }
