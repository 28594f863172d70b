"""What `exp preview` tells: the counts of a run, and of outcomes nothing by arm."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.starting import preview as module
from exp_platform.starting.draft import Said
from exp_platform.starting.init import write_spec
from exp_platform.starting.preview import Preview, preview
from exp_platform.starting.shown import preview_parts
from starting.data import shop
from starting.inputs import default

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
N = 1000


@pytest.fixture
def users(configs: Path, tmp_path: Path) -> pd.DataFrame:
    """A table of users whose new arm buys far more, and its spec."""
    rng = np.random.default_rng(4)
    arm = np.where(rng.random(N) < 0.5, "control", "new")
    frame = pd.DataFrame(
        {
            "user_id": [f"user-{i:04d}" for i in range(N)],
            "variant_id": arm,
            "exposed_at": [f"2026-03-{2 + i % 3:02d}T10:00:00Z" for i in range(N)],
            "bought": (rng.random(N) < np.where(arm == "new", 0.8123, 0.1)).astype(int),
            "spend": np.round(rng.gamma(2, 10, N), 2),
        }
    )
    frame.to_csv(tmp_path / "users.csv", index=False)
    write(configs, source(tmp_path))
    return frame


def source(folder: Path) -> dict[str, Any]:
    return {
        "kind": "units",
        "path": str(folder / "users.csv"),
        "columns": {"user_id": "user_id", "exposed_at": "exposed_at"},
    }


def write(configs: Path, where: dict[str, Any], metrics: list[dict[str, Any]] | None = None) -> None:
    spec = {
        "id": "trial",
        "owner": "shop",
        "hypothesis": "It helps.",
        "variants": [{"id": "control", "control": True}, {"id": "new"}],
        "window": {"start": "2026-03-02", "days": 14},
        "source": where,
        "metrics": metrics
        or [
            {"id": "bought", "type": "proportion", "column": "bought", "role": "primary"},
            {"id": "spend", "type": "mean", "column": "spend", "winsorise": {"upper": 0.9}},
            {"id": "spend_90", "type": "quantile", "column": "spend", "q": 0.9},
        ],
    }
    (configs / "experiments").mkdir(exist_ok=True)
    (configs / "experiments" / "trial.yaml").write_text(yaml.safe_dump(spec))


def seen() -> Preview:
    return preview(load_experiment("trial"), load_environment(), NOW)


def printed(found: Preview) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    for part in preview_parts(found):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    return console.export_text()


def test_users_are_counted_by_arm_and_day_and_metrics_over_all_arms(users: pd.DataFrame) -> None:
    found = seen()
    assert found.measured is not None
    days = pd.to_datetime(users.exposed_at).dt.date.astype(str)
    assert found.measured.users == {
        day: dict(group.variant_id.value_counts().sort_index())
        for day, group in users.groupby(days, sort=True)
    }
    values = {mean.metric: mean.value for mean in found.means}
    assert values["bought"] == pytest.approx(users.bought.mean(), rel=1e-12)
    assert values["spend"] == pytest.approx(users.spend.mean(), rel=1e-12)
    assert values["spend_90"] == pytest.approx(np.quantile(users.spend, 0.9), rel=1e-12)
    assert [(t.table, t.places, t.rows, t.left_out) for t in found.tables] == [("units", 1, N, {})]
    assert not found.refused


def test_nothing_is_written(users: pd.DataFrame, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    printed(seen())
    assert sorted(tmp_path.rglob("*")) == before


def test_no_number_of_a_single_arms_outcomes_is_told(users: pd.DataFrame) -> None:
    told = printed(seen())
    numbers = set(re.findall(r"\d[\d,.]*\d%?", told))
    for _, group in users.groupby("variant_id"):
        for number in (group.bought.sum(), group.bought.mean(), group.spend.mean(), group.spend.sum()):
            assert not numbers & {
                f"{number:{form}}" for form in ("g", ".6g", ".2%", ",.0f", ".3f", ".4f", ",.2f")
            }
    assert f"{users.bought.mean():.6g}" in numbers


def test_what_a_check_finds_of_single_arms_is_left_to_a_run(configs: Path, tmp_path: Path) -> None:
    """The new arm has no outcomes at all: a check fails, whose message counts the arms' users with any."""
    frame = pd.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(N)],
            "variant_id": ["control", "new"] * (N // 2),
            "exposed_at": "2026-03-02T10:00:00Z",
        }
    )
    frame.to_csv(tmp_path / "exposures.csv", index=False)
    outcomes = frame[frame.variant_id == "control"].head(437)[["user_id"]]
    outcomes.assign(event="order", occurred_at="2026-03-03T10:00:00Z").to_csv(
        tmp_path / "outcomes.csv", index=False
    )
    tables = {name: {"path": str(tmp_path / f"{name}.csv")} for name in ("exposures", "outcomes")}
    metrics = [{"id": "ordered", "type": "proportion", "event": "order", "role": "primary"}]
    write(configs, {"kind": "events", **tables}, metrics)
    found = seen()
    assert [c.status for c in found.checks if c.check == "outcomes_found"] == ["failed"]
    told = printed(found)
    assert "outcomes_found: what was found is of single arms, so a run tells it" in told
    assert "437 of" not in told
    assert "87.40 %" not in told


def test_only_the_beginnings_of_ids_are_shown(users: pd.DataFrame) -> None:
    told = printed(seen())
    assert "use…" in told
    assert "user-" not in told


def test_nulls_unknown_variants_and_refusals_are_told(
    users: pd.DataFrame, configs: Path, tmp_path: Path
) -> None:
    broken = users.astype(object)
    broken.loc[:9, "spend"] = None
    broken.loc[10:14, "spend"] = "ten"
    broken.loc[20:22, "variant_id"] = "newer"
    broken.to_csv(tmp_path / "users.csv", index=False)
    found = seen()
    told = printed(found)
    assert "units.spend: 10 of 1,000 (1.00 %) are null" in told
    assert "units.spend: 5 of 1,000 (0.50 %) are unreadable" in told
    assert "variants that the spec does not have: 3 of 1,000 exposures: 'newer' (3)" in told
    assert "a run would refuse the data: unknown_variants" in told
    assert found.refused


def test_data_that_cannot_be_read_and_data_that_are_too_many(
    users: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 10)
    many = seen()
    assert many.too_many
    assert many.measured is None
    assert "more rows than a preview reads" in printed(many)
    users.rename(columns={"spend": "spent"}).to_csv(tmp_path / "users.csv", index=False)
    found = seen()
    assert found.refused
    assert "has no column spend" in printed(found)
    (tmp_path / "users.csv").unlink()
    assert "no csv file at" in printed(seen())


def test_a_fact_is_read_for_the_users_of_one_experiment_alone(configs: Path, tmp_path: Path) -> None:
    """The numbers of a log of three experiments and orders in JSON, by pandas."""
    exposures, orders = (pd.read_parquet(path) for path in shop(tmp_path / "shop"))
    write_spec([str(tmp_path / "shop")], load_environment(), Said(), default, NOW.date())
    found = preview(load_experiment("checkout_v2"), load_environment(), NOW)
    mine = exposures[exposures.exp_key == "checkout_v2"]
    read = {table.table: table for table in found.tables}
    assert (read["exposures"].rows, read["exposures"].left_out) == (
        2400,
        {"of other experiments": 2400 - len(mine)},
    )
    others = int((~orders.uid.isin(mine.uid)).sum())
    assert (read["orders"].rows, read["orders"].left_out) == (
        len(orders),
        {"of users without exposure": others},
    )
    joined = orders.merge(mine, on="uid", suffixes=("", "_exposed"))
    lag = joined.ts - joined.ts_exposed
    counted = joined[(lag >= pd.Timedelta(0)) & (lag < pd.Timedelta(days=7))]
    values = {mean.metric: mean.value for mean in found.means}
    assert values["with_orders"] == pytest.approx(counted.uid.nunique() / len(mine), rel=1e-12)
    revenue = counted.props.map(lambda one: json.loads(one)["revenue"]).sum()
    assert values["orders_revenue"] == pytest.approx(revenue / len(mine), rel=1e-12)
    assert not found.refused
    assert "1,200 of other experiments" in printed(found)


def test_a_split_that_is_not_as_planned_is_told(users: pd.DataFrame, tmp_path: Path) -> None:
    kept = pd.concat([users[users.variant_id == "control"], users[users.variant_id == "new"].head(300)])
    kept.to_csv(tmp_path / "users.csv", index=False)
    assert "a run would warn: srm: users were not split as planned" in printed(seen())
