"""What `exp init` makes of exposures and events: a source that experiments share, and a spec."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.errors import ConfigError, DataError
from exp_platform.starting.draft import Said
from exp_platform.starting.init import write_spec
from exp_platform.tables.catalog import open_catalog
from starting.data import KEYS, shop, users_csv
from starting.inputs import TODAY, Init, N, arms, specs, table, told, users


def test_a_log_of_three_experiments_and_orders_in_json_become_a_source_that_both_specs_share(
    init: Init, tmp_path: Path
) -> None:
    shop(tmp_path / "shop")
    first, second = init(tmp_path / "shop"), init(tmp_path / "shop", experiment="banner")
    assert [path.relative_to(tmp_path / "configs").as_posix() for path in first.paths] == [
        "sources/shop.yaml",
        "experiments/checkout_v2.yaml",
    ]
    assert [path.name for path in second.paths] == ["banner.yaml"]
    source = yaml.safe_load((tmp_path / "configs/sources/shop.yaml").read_text())
    assert source["exposures"]["columns"] == {
        "user_id": "uid",
        "variant_id": "arm",
        "exposed_at": "ts",
        "experiment": "exp_key",
    }
    assert source["facts"]["orders"]["columns"] == {
        "user_id": "uid",
        "occurred_at": "ts",
        "event_id": "order_id",
    }
    assert source["facts"]["orders"]["values"] == {"revenue": "props.revenue", "quantity": "props.quantity"}
    assert source["facts"]["orders"]["dimensions"] == {"category": "props.category"}
    for key in KEYS[:2]:
        experiment = load_experiment(key)
        assert getattr(experiment.source, "key", None) == key
        assert (experiment.window.start, experiment.window.end) == (date(2026, 3, 2), date(2026, 3, 15))
        assert experiment.analyses.pre_period_days == 14
        assert experiment.segments == ("country",)
        primary = experiment.metrics[0]
        assert (primary.id, primary.kind, primary.window.end) == ("with_orders", "proportion", 7)
        assert {m.id for m in experiment.metrics[1:]} == {"orders", "orders_revenue", "orders_quantity"}
    assert "of 3 experiments in exp_key, checkout_v2: checkout_v2 (1,200 rows), banner (800 rows)" in told(
        first
    )


def test_an_experiment_that_no_row_has(init: Init, tmp_path: Path) -> None:
    shop(tmp_path / "shop")
    with pytest.raises(
        ConfigError, match=r"no row of exp_key has banners; there are checkout_v2 \(1,200 rows\)"
    ):
        init(tmp_path / "shop", experiment="banners")
    assert specs(tmp_path) == []


def test_questions_are_asked_with_what_may_be_answered_and_what_is_proposed(
    init: Init, configs: Path, tmp_path: Path
) -> None:
    shop(tmp_path / "shop")
    asked: list[tuple[str, tuple[str, ...], str]] = []

    def answer(question: str, allowed: Sequence[str], proposed: str) -> str:
        asked.append((question, tuple(allowed), proposed))
        return {"Which variant is control?": "variant_1"}.get(question, proposed)

    write_spec([str(tmp_path / "shop")], load_environment(), Said(), answer, TODAY)
    assert [proposed for _, _, proposed in asked] == ["checkout_v2", "control", "with_orders", "checkout_v2"]
    assert asked[0][1] == KEYS
    assert load_experiment("checkout_v2").control.id == "variant_1"


def test_one_table_of_events_with_the_variant_on_every_row(init: Init, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    times = np.datetime64("2026-02-01T00:00:00") + rng.integers(0, 10 * 86_400, N).astype("timedelta64[s]")
    path = table(
        tmp_path / "log.parquet",
        user_id=users(100) * 4,
        variant=arms(100) * 4,
        event_name=["view", "view", "click", "purchase"] * 100,
        amount=rng.gamma(2, 5, N),
        ts=pa.array(times, pa.timestamp("us")),
    )
    written = init(path)
    experiment = load_experiment("log")
    assert experiment.metrics[0].id == "with_purchase"
    assert experiment.analyses.pre_period_days == 0
    assert "each row counts as an exposure" in told(written)


def test_exposures_without_a_time_are_told(init: Init, tmp_path: Path) -> None:
    exposures = table(tmp_path / "exposures.parquet", user_id=users(), arm=arms())
    orders = table(
        tmp_path / "orders.parquet", user_id=users(), created_at=["2026-02-03T10:00:00"] * N, amount=[1.5] * N
    )
    with pytest.raises(DataError, match="exposures: no column of exposures says when it happened"):
        init(exposures, orders)
    epoch = table(tmp_path / "seen.parquet", user_id=users(), arm=arms(), ts=[1_770_000_000] * N)
    with pytest.raises(DataError, match="ts holds numbers such as 1770000000, no times: write times in ISO"):
        init(epoch, orders)
    assert specs(tmp_path) == []


def test_dates_beside_times_of_day_get_a_rule(init: Init, tmp_path: Path) -> None:
    at = [f"2026-02-{1 + i % 10:02d}T{i % 24:02d}:30:00" for i in range(N)]
    days = [f"2026-02-{1 + i % 20:02d}" for i in range(N)]
    exposures = table(tmp_path / "exposures.parquet", user_id=users(), arm=arms(), exposed_at=at)
    orders = table(tmp_path / "orders.parquet", user_id=users(), order_date=days, amount=[1.5] * N)
    init(exposures, orders)
    assert getattr(load_experiment("exposures").source, "same_day", None) == "after"


def test_tables_whose_users_have_other_names_are_linked_by_what_they_have_in_common(
    init: Init, tmp_path: Path
) -> None:
    at = ["2026-02-03T10:00:00"] * N
    exposures = table(
        tmp_path / "exposures.parquet",
        user_id=[f"x{i}" for i in range(N)],
        shopper=users(),
        arm=arms(),
        exposed_at=at,
    )
    orders = table(tmp_path / "orders.parquet", shopper=users(), created_at=at, amount=[1.5] * N)
    spec = yaml.safe_load(init(exposures, orders).paths[0].read_text())
    assert spec["exposures"]["columns"]["user_id"] == "shopper"
    assert spec["facts"]["orders"]["columns"]["user_id"] == "shopper"


def test_semicolons_and_decimal_commas_are_said(init: Init, tmp_path: Path) -> None:
    written = init(users_csv(tmp_path / "signup.csv", delimiter=";", decimal=","))
    source = yaml.safe_load(written.path.read_text())["source"]
    assert (source["delimiter"], source["decimal"]) == (";", ",")
    assert [m.id for m in load_experiment("signup").metrics] == ["converted", "revenue"]


def test_a_large_file_is_sampled_from_its_beginning_to_its_end(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exp_platform.starting.sample.WHOLE_BYTES", 1000)
    monkeypatch.setattr("exp_platform.starting.sample.SAMPLE_ROWS", 200)
    monkeypatch.setattr("exp_platform.starting.sample._CHUNK", 5_000)
    monkeypatch.setattr("exp_platform.stages.csv_files.BLOCK_BYTES", 8_000)
    n = 20_000
    lines = [
        f"u{i:05d},{('control', 'new')[i % 2]},2026-02-{1 + i // 1000:02d},{i % 3 // 2}" for i in range(n)
    ]
    path = tmp_path / "big.csv"
    path.write_text("user_id,arm,exposed_at,converted\n" + "\n".join(lines) + "\n")
    written = init(path)
    window = load_experiment("big").window
    assert (window.start, window.end) == (date(2026, 2, 1), date(2026, 2, 20))
    assert "were looked at" in told(written)
    assert "about" in told(written)


def test_json_lines_with_nested_objects(init: Init, tmp_path: Path) -> None:
    at = "2026-02-03T10:00:00Z"
    exposures = [{"user_id": u, "arm": arm, "exposed_at": at} for u, arm in zip(users(), arms(), strict=True)]
    orders = [
        {"user_id": u, "ts": at, "order": {"total": 2.5 * i, "kind": "web", "paid": i % 2 == 0}}
        for i, u in enumerate(users())
    ]
    for name, rows in (("exposures", exposures), ("orders", orders)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    source = yaml.safe_load(
        init(tmp_path / "exposures.jsonl", tmp_path / "orders.jsonl").paths[0].read_text()
    )
    assert source["facts"]["orders"]["values"] == {"total": "order.total"}
    assert source["facts"]["orders"]["dimensions"] == {"kind": "order.kind", "paid": "order.paid"}


def test_structs_and_maps_and_folders_that_are_columns(init: Init, tmp_path: Path) -> None:
    at = pa.array([datetime(2026, 2, 3, 10, tzinfo=UTC)] * 200, pa.timestamp("us", "UTC"))
    for day in ("2026-02-03", "2026-02-04"):
        for name in ("exposures", "orders"):
            (tmp_path / name / f"day={day}").mkdir(parents=True)
        rows = slice(0, 200) if day == "2026-02-03" else slice(200, 400)
        place = f"day={day}/part.parquet"
        table(tmp_path / "exposures" / place, user_id=users()[rows], arm=arms()[rows], exposed_at=at)
        table(
            tmp_path / "orders" / place,
            user_id=users()[rows],
            ts=at,
            props=[{"amount": 1.5 * i, "kind": "web"} for i in range(200)],
            tags=pa.array([[("shop", "de")]] * 200, pa.map_(pa.string(), pa.string())),
        )
    source = yaml.safe_load(init(tmp_path / "exposures", tmp_path / "orders").paths[0].read_text())
    orders = source["facts"]["orders"]
    assert orders["path"] == str(tmp_path / "orders")
    assert orders["values"] == {"amount": "props.amount"}
    assert orders["dimensions"] == {"kind": "props.kind", "shop": "tags.shop"}


def test_tables_of_the_catalog(init: Init, tmp_path: Path) -> None:
    catalog = open_catalog(load_environment())
    catalog.create_namespace("shop")
    at = pa.array([datetime(2026, 2, 3, 10, tzinfo=UTC)] * N, pa.timestamp("us", "UTC"))
    for name, rows in (
        ("exposures", pa.table({"user_id": users(), "arm": arms(), "exposed_at": at})),
        ("orders", pa.table({"user_id": users(), "ts": at, "amount": [1.5] * N})),
    ):
        catalog.create_table(f"shop.{name}", rows.schema).append(rows)
    written = init("shop.exposures", "shop.orders")
    source = yaml.safe_load(written.paths[0].read_text())
    assert (source["id"], source["facts"]["orders"]["table"]) == ("shop", "shop.orders")
    assert "orders: 400 rows" in told(written)
