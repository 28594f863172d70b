"""What a file of earlier users says: means, spreads as the tests have them, and the gain of CUPED from pairs of periods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from statsmodels.api import OLS, add_constant

from analyses.simulated import UNITS, experiment, metric
from exp_platform.config.experiment import MetricKind, Winsorise
from exp_platform.errors import DataError
from exp_platform.planning.history import earlier_users
from exp_platform.planning.known import Known

RNG = np.random.default_rng(3)
N = 4000
BEFORE = RNG.gamma(2.0, 3.0, N)
SPEND = 2.0 + 0.8 * BEFORE + RNG.normal(0, 2.0, N)
VISITS = 1.0 + RNG.poisson(3.0, N)
COLUMNS = {
    "spend": SPEND,
    "before": BEFORE,
    "bought": SPEND > 8,
    "value.numerator": SPEND * VISITS,
    "value.denominator": VISITS,
}


def known(tmp_path: Path, m: object, columns: dict[str, object] = COLUMNS, **more: object) -> Known:  # type: ignore[assignment]
    path = tmp_path / "users.parquet"
    parquet.write_table(pa.table(columns), path)
    return earlier_users(experiment(m, **more), path).metrics[m.id]  # type: ignore[arg-type,attr-defined]


def test_mean_and_spread_are_those_of_the_users(tmp_path: Path) -> None:
    found = known(tmp_path, metric("spend"))
    assert found.mean == pytest.approx(SPEND.mean(), rel=1e-12)
    assert found.sd == pytest.approx(SPEND.std(ddof=1), rel=1e-12)
    assert (found.gains, found.source) == ({}, "users.parquet")


def test_the_gain_is_what_a_regression_on_the_past_leaves_less(tmp_path: Path) -> None:
    fit = OLS(SPEND, add_constant(BEFORE)).fit()
    found = known(tmp_path, metric("spend", covariates=["before"]))
    assert found.gains["cuped"] == pytest.approx(1 - fit.mse_resid / SPEND.var(ddof=1), rel=1e-9)
    assert found.gains["cuped"] > 0.6


def test_a_ratio_has_the_spread_of_the_delta_method(tmp_path: Path) -> None:
    top, bottom = SPEND * VISITS, VISITS
    ratio = top.mean() / bottom.mean()
    found = known(tmp_path, metric("value", MetricKind.RATIO, covariates=["before"]))
    assert found.mean == pytest.approx(ratio, rel=1e-12)
    linear = (top - ratio * bottom) / bottom.mean()
    assert found.sd == pytest.approx(linear.std(ddof=1), rel=1e-9)
    fit = OLS(linear, add_constant(BEFORE)).fit()
    assert found.gains["cuped"] == pytest.approx(1 - fit.mse_resid / linear.var(ddof=1), rel=1e-6)


def test_a_proportion_is_a_share_of_users(tmp_path: Path) -> None:
    found = known(tmp_path, metric("bought", MetricKind.PROPORTION))
    assert found.mean == pytest.approx((SPEND > 8).mean(), rel=1e-12)


def test_capped_values_have_the_spread_that_is_compared(tmp_path: Path) -> None:
    cap = np.quantile(SPEND, 0.95, method="inverted_cdf")
    found = known(tmp_path, metric("spend", winsorise=Winsorise(upper=0.95)))
    assert found.sd == pytest.approx(np.minimum(SPEND, cap).std(ddof=1), rel=1e-12)


def test_a_quantiles_spread_is_its_standard_error_times_the_root_of_n(tmp_path: Path) -> None:
    """Against the density there: sqrt(q (1 - q)) / f, of the normal law that the values have."""
    values = np.random.default_rng(1).normal(10.0, 3.0, 200_000)
    found = known(tmp_path, metric("wait", MetricKind.QUANTILE, q=0.5), {"wait": values})
    assert found.mean == pytest.approx(10.0, abs=0.05)
    assert found.sd == pytest.approx(3.0 * np.sqrt(np.pi / 2), rel=0.05)


def test_nulls_count_as_the_spec_says(tmp_path: Path) -> None:
    holes = {"spend": pa.array([None, *SPEND[1:]])}
    assert known(tmp_path, metric("spend", missing="zero"), holes).mean == pytest.approx(SPEND[1:].sum() / N)
    assert known(tmp_path, metric("spend", missing="exclude"), holes).mean == pytest.approx(SPEND[1:].mean())
    with pytest.raises(DataError, match="1 rows of spend are null"):
        known(tmp_path, metric("spend", missing="error"), holes)


def test_of_a_table_of_users_a_missing_covariate_has_a_flag(tmp_path: Path) -> None:
    gone = np.arange(N) % 4 == 0
    past = pa.array(np.where(gone, np.nan, BEFORE), from_pandas=True)
    design = add_constant(np.column_stack([np.where(gone, 0.0, BEFORE), gone]))
    fit = OLS(SPEND, design).fit()
    m = metric("spend", covariates=["before"])
    found = known(tmp_path, m, {"spend": SPEND, "before": past}, source=UNITS)
    assert found.gains["cuped"] == pytest.approx(1 - fit.mse_resid / SPEND.var(ddof=1), rel=1e-9)


def test_csv_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    csv.write_csv(pa.table({"spend": SPEND, "bought": SPEND > 8}), path)
    found = earlier_users(experiment(metric("spend"), metric("bought", MetricKind.PROPORTION)), path)
    assert set(found.metrics) == {"spend", "bought"}
    assert found.metrics["spend"].mean == pytest.approx(SPEND.mean(), rel=1e-12)
    assert found.arrivals is None


def test_numbers_are_read_as_those_of_raw_data(tmp_path: Path) -> None:
    written = [f" {value!r} " for value in SPEND.tolist()]
    assert known(tmp_path, metric("spend"), {"spend": written}) == known(tmp_path, metric("spend"))


@pytest.mark.parametrize(
    ("name", "columns", "told"),
    [
        ("users.txt", None, "allowed are files .parquet and .csv"),
        ("absent.parquet", None, "cannot be read"),
        ("users.parquet", {"cost": SPEND}, "found the columns cost; a metric needs one of its name: spend"),
        ("users.parquet", {"spend": ["a"] * N}, "the column spend must hold numbers"),
        (
            "users.parquet",
            {"spend": ["1_000"] * N},
            "4000 rows cannot be read .such as '1_000'.; write them plainly",
        ),
        ("users.parquet", {"spend": [float("inf"), *SPEND[1:]]}, "1 rows cannot be read .such as 'inf'."),
        ("users.parquet", {"spend": [[1.0]] * N}, "the column spend must hold numbers"),
        ("users.parquet", {"spend": SPEND[:1]}, "spend"),
    ],
)
def test_what_cannot_be_used_is_told(
    tmp_path: Path, name: str, columns: dict[str, object] | None, told: str
) -> None:
    path = tmp_path / name
    if columns is not None:
        parquet.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=told):
        earlier_users(experiment(metric("spend")), path)


def test_a_metric_without_a_column_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    parquet.write_table(pa.table({"spend": SPEND}), path)
    spec = experiment(metric("spend", covariates=["before"]), replace(metric("other")))
    (found,) = earlier_users(spec, path).metrics.values()
    assert found.gains == {}, "a gain needs columns of all covariates"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"spend,spend\n1,2\n", "columns that stand twice: spend"),
        ("spend,size\n1,2\n".encode("utf-16"), "cannot be read"),
        ("größe,spend\n1,2\n".encode("cp1252"), "as CSV in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_plainly_is_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        earlier_users(experiment(metric("spend")), path)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
