"""What metrics measure is told of the library and of specs, with the decisions that used each definition."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from config.shared import METRICS, configs, spec
from exp_platform.cli import app
from exp_platform.config.loading import load_all
from exp_platform.report.definitions import Period, as_json, listed, metrics_table, uses_table

OWN = "[{id: own, type: ratio, numerator: {of: orders, value: revenue}, denominator: {of: orders}, role: primary}]"
MONDAY, TUESDAY, FRIDAY = date(2026, 3, 9), date(2026, 3, 10), date(2026, 3, 13)
ITEMS = "mean of orders.items, days 0 to 7"
STORED = {
    "checkout_v2": {
        MONDAY: {"items": "mean of orders.items"},
        TUESDAY: {
            "items": "mean of orders.items",
            "shoe_revenue": "mean of orders.revenue where category is shoes",
        },
        FRIDAY: {"items": ITEMS, "shoe_revenue": "mean of orders.revenue where category is shoes"},
    },
    "second": {MONDAY: {}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    second = spec("second", metrics="[{use: items, role: primary, window: {to_day: 3}}]")
    return configs(tmp_path, spec(), second, spec("own", metrics=OWN))


def shown(table: object, width: int = 160) -> str:
    console = Console(width=width, record=True)
    console.print(table)
    return console.export_text()


def test_a_metric_is_listed_with_its_users_and_since_when_they_use_this_definition(folder: Path) -> None:
    metrics = {metric.id: metric for metric in listed(load_all(folder), STORED)}

    assert list(metrics) == ["buyers", "items", "shoe_revenue", "own"]
    assert metrics["buyers"].uses == ()
    assert (metrics["buyers"].description, metrics["buyers"].owner) == ("Who ordered at all.", "growth")
    items = metrics["items"]
    assert (items.definition, items.file, items.type) == (ITEMS, f"{folder}/metrics/shop.yaml", "mean")
    first, second = items.uses
    assert (first.experiment_id, first.since) == ("checkout_v2", FRIDAY)
    assert first.otherwise == (Period("mean of orders.items", MONDAY, TUESDAY),)
    assert (second.role, second.definition, second.since) == (
        "primary",
        "mean of orders.items, days 0 to 3",
        None,
    )
    assert [use.since for use in metrics["shoe_revenue"].uses] == [TUESDAY]
    assert metrics["own"].definition == "ratio of sum of orders.revenue to count of orders"
    assert (metrics["own"].owner, metrics["own"].file) == ("growth", f"{folder}/experiments/own.yaml")
    assert (
        json.loads(json.dumps(as_json(metrics.values()), default=str))[1]["uses"][0]["since"] == "2026-03-13"
    )


def test_on_a_terminal(folder: Path) -> None:
    found = [replace(metric, file="metrics/shop.yaml") for metric in listed(load_all(folder), STORED)]

    every = shown(metrics_table(found))
    assert "checkout_v2 since 2026-03-13, defined otherwise before" in every
    assert "second since –" in every
    one = shown(uses_table(found[1]))
    assert one.startswith(f"items: {ITEMS} (growth, metrics/shop.yaml)")
    assert "2026-03-09 to 2026-03-10" in one
    assert "not yet decided" in one


def test_what_a_team_writes_is_no_order_to_the_terminal(tmp_path: Path) -> None:
    metrics = METRICS.replace("Who ordered at all.", r'"[red]a\e[2J"')
    (buyers, *_) = listed(load_all(configs(tmp_path, spec(), metrics=metrics)), {})

    assert buyers.description == "[red]a\x1b[2J"
    assert "[red]a\\x1b[2J" in shown(uses_table(buyers))


def test_the_command_says_what_it_does_not_know(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))
    environments = folder / "environments"
    environments.symlink_to(Path(__file__).parents[2] / "configs" / "environments")

    def run(*words: str) -> tuple[int, str]:
        found = CliRunner().invoke(app, ["metrics", *words])
        return found.exit_code, found.output + str(found.exception or "")

    assert [metric["id"] for metric in json.loads(run("--json")[1])] == ["buyers", "items", "shoe_revenue"]
    assert [metric["id"] for metric in json.loads(run("--json", "--all")[1])][-1] == "own"
    assert [metric["id"] for metric in json.loads(run("own", "--json")[1])] == ["own"]
    assert "no metric has the id 'itms'; did you mean items?" in run("itms")[1]
    (folder / "metrics" / "shop.yaml").write_text(METRICS.replace("type: proportion", "type: share"))
    code, told = run()
    assert (code, "buyers" in told) == (0, False)
    assert "config errors hide definitions or experiments: run exp validate" in told.replace("\n", " ")
