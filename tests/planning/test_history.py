"""What a file of earlier users says: means, spreads as the tests have them, and the gain of CUPED from pairs of periods."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from statsmodels.api import OLS, add_constant
from typer.testing import CliRunner, Result

from analyses.simulated import UNITS, experiment, metric
from exp_platform import cli
from exp_platform.config.metrics import Effect, Role, Winsorise
from exp_platform.errors import DataError
from exp_platform.planning.history import earlier_users
from exp_platform.planning.known import Known
from exp_platform.planning.metric_plan import Finds, plan_metric
from exp_platform.report.plan import plan_json, plan_lines

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
    found = known(tmp_path, metric("value", "ratio", covariates=["before"]))
    assert found.mean == pytest.approx(ratio, rel=1e-12)
    linear = (top - ratio * bottom) / bottom.mean()
    assert found.sd == pytest.approx(linear.std(ddof=1), rel=1e-9)
    fit = OLS(linear, add_constant(BEFORE)).fit()
    assert found.gains["cuped"] == pytest.approx(1 - fit.mse_resid / linear.var(ddof=1), rel=1e-6)


def test_a_proportion_is_a_share_of_users(tmp_path: Path) -> None:
    found = known(tmp_path, metric("bought", "proportion"))
    assert found.mean == pytest.approx((SPEND > 8).mean(), rel=1e-12)


def test_capped_values_have_the_spread_that_is_compared(tmp_path: Path) -> None:
    cap = np.quantile(SPEND, 0.95, method="inverted_cdf")
    found = known(tmp_path, metric("spend", winsorise=Winsorise(upper=0.95)))
    assert found.sd == pytest.approx(np.minimum(SPEND, cap).std(ddof=1), rel=1e-12)


def test_a_quantiles_spread_is_its_standard_error_times_the_root_of_n(tmp_path: Path) -> None:
    """Against the density there: sqrt(q (1 - q)) / f, of the normal law that the values have."""
    values = np.random.default_rng(1).normal(10.0, 3.0, 200_000)
    found = known(tmp_path, metric("wait", "quantile", q=0.5), {"wait": values})
    assert found.mean == pytest.approx(10.0, abs=0.05)
    assert found.sd == pytest.approx(3.0 * np.sqrt(np.pi / 2), rel=0.05)


def test_nulls_count_as_the_spec_says(tmp_path: Path) -> None:
    holes = {"spend": pa.array([None, *SPEND[1:]])}
    assert known(tmp_path, metric("spend", missing="zero"), holes).mean == pytest.approx(SPEND[1:].sum() / N)
    assert known(tmp_path, metric("spend", missing="exclude"), holes).mean == pytest.approx(SPEND[1:].mean())
    refused = known(tmp_path, metric("spend", missing="error"), holes)
    assert refused.told == ("users.parquet: 1 rows are null; fill them in, or say missing: zero or exclude",)


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
    found = earlier_users(experiment(metric("spend"), metric("bought", "proportion")), path)
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
    ],
)
def test_a_file_that_says_nothing_of_any_metric_is_refused(
    tmp_path: Path, name: str, columns: dict[str, object] | None, told: str
) -> None:
    path = tmp_path / name
    if columns is not None:
        parquet.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=told):
        earlier_users(experiment(metric("spend")), path)


WAIT, VALUE = metric("x", "quantile", q=0.9), metric("x", "ratio")
FLAT = np.zeros(N)
SILENT = {  # why a metric's history gives no plan -> the metric, its columns, what is told
    "a quantile within a tie": (WAIT, {"x": FLAT}, "lies within a tie at 0 .*: choose another q"),
    "too few users for a quantile": (
        WAIT,
        {"x": pa.array([*SPEND[:20], *[None] * (N - 20)])},
        "20 users are too few .*: give at least 36",
    ),
    "a quantile of huge values": (WAIT, {"x": SPEND * 1e200}, "values are too large"),
    "a metric that does not vary": (metric("x"), {"x": FLAT + 3.3}, "does not vary .*: give users in whom it does"),
    "one that its caps make constant": (
        metric("x", winsorise=Winsorise(upper=0.9)),
        {"x": np.where(np.arange(N) < 9, 1.0, 0.0)},
        "does not vary .*: choose caps closer to 0 and 1",
    ),
    "nobody does it": (metric("x", "proportion"), {"x": FLAT}, "between 0 and 1, not 0: give one that"),
    "a ratio to nothing": (
        VALUE,
        {"x.numerator": SPEND, "x.denominator": FLAT},
        "denominator of the ratio has mean zero; give users",
    ),
    "half a ratio": (VALUE, {"x.numerator": SPEND}, "there is no column x.denominator; add it"),
    "a value whose square overflows": (
        metric("x"),
        {"x": [1e200, *SPEND[1:]]},
        r"too large for arithmetic: correct them, .* or winsorise .*\(the largest is 1e\+200\)",
    ),
    "values whose sum overflows": (metric("x"), {"x": [1.7e308, 1.7e308, *SPEND[2:]]}, "too large for arithmetic"),
    "a ratio that overflows": (
        VALUE,
        {"x.numerator": SPEND * 1e40, "x.denominator": FLAT + 1e-50},
        "ratios are too large",
    ),
    "values whose squares are lost": (metric("x"), {"x": SPEND * 1e-200}, "too small for arithmetic"),
    "no users": (metric("x"), {"x": pa.array([None] * N, pa.float64())}, "no users have a value; give more"),
    "one user": (metric("x"), {"x": pa.array([1.0, *[None] * (N - 1)])}, "1 users have a value; give more"),
    "text": (metric("x"), {"x": ["a"] * N}, "the column x must hold numbers"),
    "a malformed number": (
        metric("x"),
        {"x": ["1_000"] * N},
        "4000 rows cannot be read .such as '1_000'.; write them plainly",
    ),
    "an infinite one": (metric("x"), {"x": [float("inf"), *SPEND[1:]]}, "1 rows cannot be read .such as 'inf'."),
    "lists": (metric("x"), {"x": [[1.0]] * N}, "the column x must hold numbers"),
    "no column": (metric("x"), {}, "there is no column x; add it"),
}  # fmt: skip


@pytest.mark.parametrize("why", SILENT)
@pytest.mark.filterwarnings("error")
def test_a_metric_whose_history_gives_no_plan_is_told_and_the_others_are_planned(
    tmp_path: Path, why: str
) -> None:
    silent, columns, told = SILENT[why]
    m = replace(silent, mde=Effect(0.05, "relative"), missing="exclude")
    spend = metric("spend", mde=Effect(0.05, "relative"), role=Role.SECONDARY)
    spec, path = experiment(m, spend), tmp_path / "users.parquet"
    parquet.write_table(pa.table({**columns, "spend": SPEND}), path)
    earlier = earlier_users(spec, path)
    broken, other = (plan_metric(spec, x, known=earlier.metrics[x.id], users=1000) for x in spec.metrics)
    alone = known(tmp_path, spend, {"spend": SPEND})
    assert other == plan_metric(spec, spend, known=alone, users=1000)
    assert other.required_users > 100
    assert (broken.required_users, broken.finds, broken.possible) == (None, Finds(), False)
    (note,) = [note for note in broken.notes if "missing: exclude" not in note]
    assert re.search(told, note), note
    assert f"x: {note}" in plan_lines(spec, [broken, other])
    shown = json.loads(json.dumps(plan_json(spec, [broken, other]), allow_nan=False, default=str))
    assert note in shown["metrics"][0]["notes"]


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (["a"] * N, "the column before must hold numbers"),
        (BEFORE * 1e200, "covariates are too large for arithmetic"),
        (None, "there is no column before; add it"),
    ],
)
def test_a_covariate_that_cannot_be_read_costs_its_gain_and_not_the_plan(
    tmp_path: Path, before: object, told: str
) -> None:
    columns = {"spend": SPEND} | ({} if before is None else {"before": before})
    found = known(tmp_path, metric("spend", covariates=["before"]), columns)
    assert (found.mean, found.gains) == (pytest.approx(SPEND.mean()), {})
    (note,) = found.told
    assert note.startswith(f"users.parquet: what cuped gains is not known: {told}")


class TestCommand:
    """`exp plan --history`, without a platform around it."""

    SPEC = experiment(
        metric("wait", "quantile", q=0.9, mde=Effect(0.05, "relative")),
        metric("spend", mde=Effect(0.05, "relative")),
    )

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cli, "load_experiment", lambda _: self.SPEC)
        monkeypatch.setattr(cli.console, "width", 240)
        self.path = tmp_path / "users.parquet"

    def call(self, columns: dict[str, object], *flags: str) -> Result:
        parquet.write_table(pa.table(columns), self.path)
        return CliRunner().invoke(cli.app, ["plan", "exp_test", "--history", str(self.path), *flags])

    def test_one_metric_that_gives_no_plan_stops_no_other_one(self) -> None:
        said = self.call({"wait": FLAT, "spend": SPEND})
        assert said.exit_code == 0
        assert "wait: users.parquet: the 0.9 quantile lies within a tie at 0" in said.output
        told = json.loads(self.call({"wait": FLAT, "spend": SPEND}, "--json").output)
        assert [m["required_users"] is None for m in told["metrics"]] == [True, False]

    @pytest.mark.parametrize("flags", [(), ("--json",)])
    def test_it_fails_where_nothing_could_be_planned_after_saying_why(self, flags: tuple[str, ...]) -> None:
        said = self.call({"wait": FLAT, "spend": FLAT}, *flags)
        assert isinstance(said.exception, DataError)
        assert "nothing could be planned" in str(said.exception)
        for why in ("lies within a tie", "does not vary"):
            assert why in said.output

    @pytest.mark.parametrize(
        "flag", ["--users", "--daily-users", "--baseline", "--sd", "--variance-reduction"]
    )
    @pytest.mark.parametrize("number", ["nan", "inf"])
    def test_numbers_that_are_none_are_refused(self, flag: str, number: str) -> None:
        said = self.call({"spend": SPEND}, "--metric", "spend", flag, number)
        assert said.exit_code == 2
        assert flag in said.output


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
