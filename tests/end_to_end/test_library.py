"""Two experiments on one log share a source and metrics: a definition that changes is computed, told and listed where it is used."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from end_to_end.installation import Installation
from end_to_end.own_data import DAYS, START, VARIANTS, ZONE, events
from exp_platform.cli import main as exp
from exp_platform.errors import ConfigError

MONDAY = START.date() + timedelta(days=7)  # a week before the end
TUESDAY = MONDAY + timedelta(days=1)
SOURCE = """\
id: shop
owner: data-platform
exposures:
  path: data/exposures.csv
  columns: {user_id: user_id, variant_id: variant_id, exposed_at: exposed_at, experiment: exp_key}
facts:
  orders:
    path: data/orders.csv
    columns: {user_id: user_id, occurred_at: occurred_at, event_id: event_id}
    values: {revenue: value}
"""
METRICS = """\
owner: growth
metrics:
  - {id: bought, type: proportion, of: orders}
  - {id: revenue, type: mean, of: orders, value: revenue}
"""
LARGE = METRICS.replace("value: revenue}", "value: revenue, where: {revenue: {min: 20}}}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    made = Installation(tmp_path_factory.mktemp("shop"))
    data = made.configs / "sources" / "data"
    data.mkdir(parents=True)
    (made.configs / "metrics").mkdir()
    exposures, outcomes = events(users=600)
    log = pd.concat(exposures.assign(exp_key=key) for key in ("checkout_v2", "other"))
    log.to_csv(data / "exposures.csv", index=False)
    outcomes.to_csv(data / "orders.csv", index=False)
    (made.configs / "sources" / "shop.yaml").write_text(SOURCE)
    (made.configs / "metrics" / "shop.yaml").write_text(METRICS)
    for id, source, metrics in (
        (
            "checkout",
            {"use": "shop", "key": "checkout_v2"},
            [{"use": "bought", "role": "primary"}, "revenue"],
        ),
        ("other", {"use": "shop"}, [{"use": "bought", "role": "primary", "window": {"to_day": 7}}]),
    ):
        made.spec(
            id=id,
            owner="shop",
            hypothesis="It sells more.",
            variants=VARIANTS,
            window={"start": START.date(), "days": DAYS, "timezone": ZONE},
            source=source,
            metrics=metrics,
        )
    return made


def revenue(shop: Installation, day: date, least: float = 0) -> dict[str, float]:
    """Revenue per user of each arm by pandas, from the files themselves."""
    data = shop.configs / "sources" / "data"
    users, orders = pd.read_csv(data / "exposures.csv"), pd.read_csv(data / "orders.csv")
    users = users[users.exp_key == "checkout_v2"]
    end = f"{day + timedelta(days=1)} 00:00:00"
    users = users[users.exposed_at < end]
    both = users.merge(orders, on="user_id")
    both = both[(both.occurred_at >= both.exposed_at) & (both.occurred_at < end) & (both.value >= least)]
    return (both.groupby("variant_id").value.sum() / users.groupby("variant_id").size()).to_dict()


def measured(shop: Installation, day: date) -> dict[str, float]:
    from exp_platform.analyses.rows import ResultRow

    (row,) = (
        r for r in shop.results.rows(ResultRow, "checkout", day, method="ab") if r.metric_id == "revenue"
    )
    return {"control": row.mean_control, "treatment": row.mean_treatment}


def test_a_changed_definition_runs_its_users_anew_is_told_and_stays_explained(shop: Installation) -> None:
    assert [shop.run(id, as_of_dates=[MONDAY]).started.up_to_date for id in ("checkout", "other")] == [
        False,
        False,
    ]
    assert [shop.run(id, as_of_dates=[MONDAY]).started.up_to_date for id in ("checkout", "other")] == [
        True,
        True,
    ]
    assert measured(shop, MONDAY) == pytest.approx(revenue(shop, MONDAY), rel=1e-12)

    (shop.configs / "metrics" / "shop.yaml").write_text(LARGE)
    assert shop.run("other", as_of_dates=[MONDAY]).started.up_to_date
    assert not shop.run("checkout", as_of_dates=[TUESDAY]).started.up_to_date
    assert measured(shop, TUESDAY) == pytest.approx(revenue(shop, TUESDAY, 20), rel=1e-12)
    told = {reason["code"]: reason["text"] for reason in shop.decision("checkout")["reasons"]}
    edit = "metrics.revenue.numerator.event orders.revenue -> orders.revenue where revenue is at least 20"
    assert edit in told["SPEC_CHANGED"]
    assert edit in told["PLAN_CHANGED"]

    listed = {metric["id"]: metric for metric in json.loads(shop.call(exp, "metrics", "--json").out)}
    assert {(use["experiment_id"], use["since"]) for use in listed["bought"]["uses"]} == {
        ("checkout", str(MONDAY)),
        ("other", str(MONDAY)),
    }
    (use,) = listed["revenue"]["uses"]
    assert (use["definition"], use["since"]) == (
        "mean of orders.revenue where revenue is at least 20",
        str(TUESDAY),
    )
    assert use["otherwise"] == [
        {"definition": "mean of orders.revenue", "first": str(MONDAY), "last": str(MONDAY)}
    ]


def test_a_definition_that_breaks_leaves_the_last_results_as_they_are(shop: Installation) -> None:
    before = shop.content()
    path: Path = shop.configs / "metrics" / "shop.yaml"
    path.write_text(LARGE.replace("value: revenue", "value: revenues"))

    with pytest.raises(
        ConfigError, match=r"metrics\[1\]: found 'revenue', whose value is 'revenues'; no value of orders"
    ):
        shop.run("checkout", as_of_dates=[TUESDAY])
    assert shop.content() == before
