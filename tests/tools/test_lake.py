"""The made-up lake is the same every time and holds what the example needs; its reference tells rows that are off."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from exp_demo.lake import LOG, write_lake
from exp_demo.lake_demo import EXAMPLE, faults_of_rows
from exp_demo.lake_reference import METRICS, Lake, compared, differences
from exp_platform.config.loading import load_all


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake") / "one"
    write_lake(folder, users=150, first=date(2026, 2, 14))
    return folder


def test_the_same_seed_gives_the_same_rows(lake: Path, tmp_path: Path) -> None:
    write_lake(tmp_path / "again", users=150, first=date(2026, 2, 14))
    write_lake(tmp_path / "other", users=150, first=date(2026, 2, 14), seed=15)

    for name in ("exposures", "orders", "sessions"):
        rows = pq.read_table(lake / name)
        assert rows.equals(pq.read_table(tmp_path / "again" / name))
        assert not rows.equals(pq.read_table(tmp_path / "other" / name))


def test_every_experiment_of_the_log_has_users_in_both_arms(lake: Path) -> None:
    rows = pq.read_table(lake / "exposures", columns=["exp_key", "arm"]).to_pylist()

    for experiment in LOG:
        assert {row["arm"] for row in rows if row["exp_key"] == experiment.key} == set(experiment.arms)


def test_some_orders_are_delivered_twice(lake: Path) -> None:
    """Else nothing would show whether they are counted once."""
    rows = pq.read_table(lake / "sessions")

    assert len(set(rows["session_id"].to_pylist())) < rows.num_rows


def test_the_reference_knows_every_metric_of_the_example() -> None:
    experiments = load_all(EXAMPLE).experiments

    assert {name: [m.id for m in e.metrics] for name, e in experiments.items()} == {
        name: [*metrics] for name, metrics in METRICS.items()
    }


def test_a_comparison_of_means_is_welchs() -> None:
    rng = np.random.default_rng(1)
    control, treatment = rng.gamma(2, 1, 80), rng.gamma(2, 1.5, 120)

    found = compared(control[:, None], treatment[:, None])

    test = stats.ttest_ind(treatment, control, equal_var=False)
    assert found["p_value"] == pytest.approx(test.pvalue, rel=1e-12)
    assert found["degrees_of_freedom"] == pytest.approx(test.df, rel=1e-12)


def row(metric: str, **numbers: Any) -> Any:
    return SimpleNamespace(metric_id=metric, segment_value="all", **numbers)


def test_a_number_that_is_off_is_told() -> None:
    assert list(differences("revenue", {"mean_control": 2.0}, row("revenue", mean_control=2.0 + 1e-9))) == []
    (said,) = differences("revenue", {"mean_control": 2.0}, row("revenue", mean_control=2.0 + 1e-8))
    assert said.startswith("revenue: mean_control is 2.00000001")
    assert list(differences("revenue", {"p_value": 0.5}, row("revenue", p_value=None))) != []


def test_a_metric_without_a_row_is_told(lake: Path) -> None:
    reference = Lake(lake)
    rows = [row(metric, **numbers) for metric, numbers in reference.expected("free_shipping")]

    assert list(faults_of_rows("free_shipping", rows, reference)) == []
    assert list(faults_of_rows("free_shipping", rows[1:], reference)) == [
        "free_shipping: revenue has 0 rows of ab"
    ]
