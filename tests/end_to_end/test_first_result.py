"""From data to a decision by two commands, without a line of YAML written by hand; what they take is `benchmarks/first_result.py`'s."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from end_to_end.installation import DATA, Installation
from exp_platform.analyses.rows import ResultRow
from exp_platform.cli import main
from starting.data import shop, users_csv

PUBLIC = pytest.mark.skipif(
    not all((DATA / f"{name}.csv.gz").is_file() for name in ("hillstrom", "cookie_cats")),
    reason=f"hillstrom.csv.gz and cookie_cats.csv.gz are not in {DATA}; set EXP_DATA_DIR to where they are",
)


def started(place: Installation, *arguments: str | Path) -> Callable[[str], list[ResultRow]]:
    """`exp init --yes`, then `exp run` of what it wrote; gives the rows of `ab` by metric."""
    said = place.call(main, "init", *map(str, arguments), "--yes")
    assert said.code == 0, said.err
    experiment_id = said.out.split()[-1]
    ran = place.call(main, "run", experiment_id)
    assert ran.code == 0, ran.err
    assert place.results.latest_decision(experiment_id) is not None
    rows = place.results.rows(ResultRow, experiment_id, method="ab")
    return lambda metric: [row for row in rows if row.metric_id == metric and row.segment == "all"]


def agree(row: ResultRow, control: float, treatment: float) -> None:
    assert (row.mean_control, row.mean_treatment) == pytest.approx((control, treatment), rel=1e-9)


@PUBLIC
def test_hillstrom(place: Installation) -> None:
    ab = started(place, DATA / "hillstrom.csv.gz")
    emails = pd.read_csv(DATA / "hillstrom.csv.gz").groupby("treatment").conversion
    found = {row.treatment_id: row for row in ab("conversion")}
    assert sorted(found) == ["mens_e_mail", "womens_e_mail"]
    for treatment, value in (("mens_e_mail", "Mens E-Mail"), ("womens_e_mail", "Womens E-Mail")):
        agree(found[treatment], emails.mean()["No E-Mail"], emails.mean()[value])


@PUBLIC
def test_cookie_cats(place: Installation) -> None:
    """No arm is called control, so the larger one is; the public analysis has it the other way round."""
    ab = started(place, DATA / "cookie_cats.csv.gz")
    players = pd.read_csv(DATA / "cookie_cats.csv.gz").groupby("version").retention_7.mean()
    (row,) = ab("retention_7")
    assert (row.treatment_id, row.control_id) == ("gate_30", "gate_40")
    agree(row, players["gate_40"], players["gate_30"])


def test_a_csv_with_semicolons_and_decimal_commas(place: Installation, tmp_path: Path) -> None:
    path = users_csv(tmp_path / "semicolons.csv", delimiter=";", decimal=",")
    (row,) = started(place, path)("converted")
    frame = pd.read_csv(path, sep=";", decimal=",").groupby("arm").converted.mean()
    agree(row, frame["Control"], frame["Short form"])


def test_a_log_of_three_experiments_and_orders_in_json(place: Installation, tmp_path: Path) -> None:
    exposures, orders = (pd.read_parquet(path) for path in shop(tmp_path / "shop"))
    ab = started(place, tmp_path / "shop")
    mine = exposures[exposures.exp_key == "checkout_v2"]
    joined = orders.merge(mine, on="uid", suffixes=("", "_exposed"))
    lag = joined.ts - joined.ts_exposed
    counted = joined[(lag >= pd.Timedelta(0)) & (lag < pd.Timedelta(days=7))]
    revenue = counted.props.map(lambda one: json.loads(one)["revenue"]).groupby(counted.arm).sum()
    users = mine.groupby("arm").uid.nunique()
    (row,) = ab("with_orders")
    agree(row, *(counted.groupby("arm").uid.nunique() / users)[["Control", "Variant 1"]])
    (row,) = ab("orders_revenue")
    agree(row, *(revenue / users)[["Control", "Variant 1"]])


def test_a_second_experiment_of_the_log_uses_the_same_source(place: Installation, tmp_path: Path) -> None:
    """As a data scientist does who comes after: the same folder, another key, no question."""
    shop(tmp_path / "lake")
    started(place, tmp_path / "lake", "--id", "first_of_lake")
    assert started(place, tmp_path / "lake", "--experiment", "banner", "--id", "second_of_lake")(
        "with_orders"
    )
    assert len(list((place.configs / "sources").glob("lake*.yaml"))) == 1


def test_three_groups_and_users_without_one(place: Installation, tmp_path: Path) -> None:
    """Whoever has no group is left out, by a line of the spec that says so; without it the run refuses the table."""
    n = 900
    frame = pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "group": [None if i % 30 == 7 else f"g{i % 3}" for i in range(n)],
            "converted": [int(i % 7 < 2) for i in range(n)],
        }
    )
    frame.to_csv(tmp_path / "groups.csv", index=False)
    rows = started(place, tmp_path / "groups.csv")("converted")
    rates = frame.groupby("group").converted.mean()
    assert len(rows) == 2
    for row in rows:
        agree(row, rates[row.control_id], rates[row.treatment_id])
