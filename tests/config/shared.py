"""A folder of configs whose experiments share a source and metrics, for tests."""

from __future__ import annotations

from pathlib import Path

SOURCE = """\
id: shop
owner: data-platform
exposures:
  path: lake/exposures
  columns: {user_id: uid, variant_id: arm, exposed_at: ts, experiment: exp_key}
facts:
  orders:
    path: ${EXP_LAKE}/orders
    columns: {user_id: uid, occurred_at: ts}
    values: {revenue: props.revenue, items: props.quantity}
    dimensions: {category: props.category}
attributes: {country: geo_country, plan: tier}
"""
METRICS = """\
owner: growth
description: Orders of the shop.
metrics:
  - {id: shoe_revenue, owner: shoes, type: mean, of: orders, value: revenue, where: {category: [shoes]}}
  - {id: items, type: mean, of: orders, value: items, window: {to_day: 7}}
  - {id: buyers, type: proportion, of: orders, role: informational, description: Who ordered at all.}
groups:
  standard_guardrails:
    - {metric: items, margin: 10%, severity: critical}
    - {metric: buyers, margin: 5%}
  all_of_the_shop: [shoe_revenue, items]
"""
SPEC = """\
id: {id}
owner: growth
hypothesis: A shorter checkout earns more per user.
variants: [{{id: control, control: true, value: Control}}, {{id: v1, value: Variant 1}}]
window: {{start: 2026-03-02, days: 28}}
source: {source}
metrics: {metrics}
"""


def spec(
    id: str = "checkout_v2",
    metrics: str = "[{use: shoe_revenue, role: primary}, items]",
    source: str = "{use: shop}",
) -> str:
    """A spec that uses the library."""
    return SPEC.format(id=id, metrics=metrics, source=source)


def configs(folder: Path, *specs: str, source: str = SOURCE, metrics: str = METRICS) -> Path:
    """The folder with the library and each spec in a file named after its id."""
    for name in ("experiments", "sources", "metrics"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "sources" / "shop.yaml").write_text(source)
    (folder / "metrics" / "shop.yaml").write_text(metrics)
    for text in specs:
        id = text.partition("\n")[0].removeprefix("id: ")
        (folder / "experiments" / f"{id}.yaml").write_text(text)
    return folder
