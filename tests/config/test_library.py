"""Sources and metrics that experiments share mean what they would if each spec wrote them, and are told where they are wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import pytest

from config.shared import METRICS, SOURCE, configs, spec
from exp_platform.config import library, loading
from exp_platform.config.edits import edits_since
from exp_platform.config.environment import load_environment
from exp_platform.config.hashing import config_hash
from exp_platform.config.loading import load_all, load_experiment
from exp_platform.config.metrics import DayWindow, Effect, Guardrail, Provenance, Role
from exp_platform.errors import ConfigError
from exp_platform.stages.sources import readings

INLINE = """\
{kind: events, key: checkout_v2,
  exposures: {path: ../sources/lake/exposures, columns: {user_id: uid, variant_id: arm, exposed_at: ts, experiment: exp_key}},
  facts: {orders: {path: "${EXP_LAKE}/orders", columns: {user_id: uid, occurred_at: ts},
    values: {revenue: props.revenue, items: props.quantity}, dimensions: {category: props.category}}}}"""
INLINE_METRICS = """\
[{id: shoe_revenue, type: mean, of: orders, value: revenue, where: {category: shoes}, role: primary},
  {id: items, type: mean, of: orders, value: items, window: {to_day: 7}}]"""


def only(folder: Path):
    loaded = load_all(folder)
    assert [str(error) for error in loaded.errors] == []
    (experiment,) = loaded.experiments.values()
    return experiment


def errors(folder: Path) -> list[str]:
    return [str(error).replace(f"{folder}/", "") for error in load_all(folder).errors]


def test_a_spec_that_uses_a_library_is_the_one_that_writes_all_itself(tmp_path: Path) -> None:
    shared = only(configs(tmp_path, spec(source="{use: shop, key: checkout_v2}")))
    (tmp_path / "own").mkdir()
    own = only(configs(tmp_path / "own", spec(metrics=INLINE_METRICS, source=INLINE)))

    assert replace(shared, provenance={}) == own
    assert config_hash(shared) == config_hash(own)
    file = f"{tmp_path}/metrics/shop.yaml"
    assert shared.provenance == {
        "shoe_revenue": Provenance("shoes", "Orders of the shop.", file),
        "items": Provenance("growth", "Orders of the shop.", file),
    }


def test_of_a_log_of_many_experiments_the_key_is_the_id_unless_the_spec_says_another(tmp_path: Path) -> None:
    assert only(configs(tmp_path, spec())).source.key == "checkout_v2"
    assert only(configs(tmp_path, spec(source="{use: shop, key: 7}"))).source.key == "7"


def test_an_experiment_says_what_is_its_own_of_a_metric(tmp_path: Path) -> None:
    own = "{use: items, role: primary, mde: 5%, baseline: 2, min_practical_effect: 1%, window: {to_day: 14}, covariates: [items]}"
    experiment = only(configs(tmp_path, spec(metrics=f"[{own}, shoe_revenue]")))

    items, revenue = experiment.metrics
    assert (items.role, items.window, items.mde) == (Role.PRIMARY, DayWindow(0, 14), Effect(0.05, "relative"))
    assert (items.baseline, items.min_practical_effect) == (2, Effect(0.01, "relative"))
    assert items.definition == "mean of orders.items, days 0 to 14"
    assert (revenue.role, revenue.window) == (Role.SECONDARY, DayWindow())
    assert revenue.definition == "mean of orders.revenue where category is shoes"


def test_a_group_brings_metrics_and_their_margins(tmp_path: Path) -> None:
    group = "{group: standard_guardrails}"
    experiment = only(configs(tmp_path, spec(metrics=f"[{{use: shoe_revenue, role: primary}}, {group}]")))

    assert [(m.id, m.role, m.guardrail) for m in experiment.metrics] == [
        ("shoe_revenue", Role.PRIMARY, None),
        ("items", Role.GUARDRAIL, Guardrail(Effect(0.1, "relative"), "critical")),
        ("buyers", Role.INFORMATIONAL, Guardrail(Effect(0.05, "relative"), "warning")),
    ]


def test_of_a_metric_that_the_spec_names_itself_a_group_only_brings_the_margin(tmp_path: Path) -> None:
    metrics = (
        "[{group: standard_guardrails}, {use: items, role: primary}, {group: all_of_the_shop}, "
        "{id: own, type: count, of: orders}]"
    )
    experiment = only(configs(tmp_path, spec(metrics=metrics)))

    assert [(m.id, m.role.value, m.guardrail is not None) for m in experiment.metrics] == [
        ("buyers", "informational", True),
        ("items", "primary", True),
        ("shoe_revenue", "secondary", False),
        ("own", "secondary", False),
    ]


def test_segments_take_the_sources_attributes_and_the_specs_own_before_them(tmp_path: Path) -> None:
    own = "{use: shop, attributes: {plan: plan_at_exposure}}\nsegments: [country, {name: plan}]"
    experiment = only(configs(tmp_path, spec(source=own)))

    assert experiment.source.attributes == {"country": "geo_country", "plan": "plan_at_exposure"}


@pytest.mark.parametrize(
    ("metrics", "source", "expected"),
    [
        (
            "[{use: shoe_revenu, role: primary}]",
            "{use: shop}",
            "metrics[0].use: found 'shoe_revenu'; no file of metrics/ beside the specs defines it; did you mean shoe_revenue? "
            "allowed: buyers, items, shoe_revenue",
        ),
        (
            "[{use: items, role: primary}, {group: guardrails}]",
            "{use: shop}",
            "metrics[1].group: found 'guardrails'; no file of metrics/ beside the specs defines it; "
            "did you mean standard_guardrails? allowed: all_of_the_shop, standard_guardrails",
        ),
        (
            "[{use: items, role: primary}]",
            "{use: shops}",
            "source.use: found 'shops'; no file of sources/ beside the specs defines it; did you mean shop? allowed: shop",
        ),
        (
            "[{use: items, role: primary}, {use: items, mde: 1%}]",
            "{use: shop}",
            "metrics[1].use: found 'items'; metrics[0] uses it already: say all that differs in one place",
        ),
        (
            "[{use: items, role: primary}, {id: items, type: count, of: orders}]",
            "{use: shop}",
            "metrics[0].use: found 'items'; metrics[1] of this spec has the same id: take one of both",
        ),
        (
            "[{use: items, role: primary, where: {category: hats}}]",
            "{use: shop}",
            "metrics[0].where: found where, which is shared; where belongs to the definition (metrics/shop.yaml:5): change it "
            "there, or write one of the spec's own; allowed: baseline, covariates, mde, min_practical_effect, role, use, window",
        ),
        (
            "[{use: items, role: primary, mde: 5}]",
            "{use: shop}",
            "metrics[0].mde: found 5; allowed: a positive size such as 2% (of control's mean), {relative: 0.02} or {absolute: 0.01}",
        ),
        (
            "[{use: items, role: primary}]",
            "{use: shop, dedupe: none}",
            "source.dedupe: found dedupe, which is shared; dedupe belongs to the definition (sources/shop.yaml): change it "
            "there, or write one of the spec's own; allowed: attributes, key, use",
        ),
        (
            "[{use: items, role: primary}, {group: standard_guardrails}]\nguardrails: [{metric: items, margin: 1%}]",
            "{use: shop}",
            "metrics[1].group: found 'standard_guardrails'; guardrails of this spec give items a margin too: leave that out, "
            "or name the group's metrics one by one",
        ),
        ("[{use: [items], role: primary}]", "{use: shop}", "metrics[0].use: found ['items']; allowed: text"),
        (
            "[5, {use: items, role: primary}]",
            "{use: shop}",
            "metrics[0]: found 5; allowed: a mapping of keys",
        ),
    ],
)
def test_what_a_spec_uses_wrongly_is_told_in_the_spec(
    metrics: str, source: str, expected: str, tmp_path: Path
) -> None:
    (error,) = errors(configs(tmp_path, spec(metrics=metrics, source=source)))

    place, _, told = error.partition(": ")
    assert place.rpartition(":")[0] == "experiments/checkout_v2.yaml"
    assert told == expected


def test_a_metric_that_does_not_fit_the_source_is_told_where_it_is_used_with_its_definition(
    tmp_path: Path,
) -> None:
    metrics = METRICS.replace("value: items", "value: pieces").replace(
        "category: [shoes]", "category: {min: 5}"
    )
    source = SOURCE.replace("props.category}", "{path: props.category, as: text}}")
    shifted = "[{group: standard_guardrails}, {use: shoe_revenue, role: primary, window: {from_day: 40}}]"

    assert errors(configs(tmp_path, spec(metrics=shifted), source=source, metrics=metrics)) == [
        "experiments/checkout_v2.yaml:7: metrics[0].group: found 'items', whose value is 'pieces'; no value of orders has this "
        "name; allowed: items, revenue (defined in metrics/shop.yaml:5)",
        "experiments/checkout_v2.yaml:7: metrics[1].use: found 'shoe_revenue', whose where.category is category is at least 5; "
        "category is read as text: compare it with texts (defined in metrics/shop.yaml:4)",
        "experiments/checkout_v2.yaml:7: metrics[1].window.from_day: found 40; without to_day the window closes with the "
        "experiment, after 28 days: nobody's would open. Give to_day, or a from_day below 28",
    ]


def test_a_variable_that_no_location_may_name_is_told_with_the_source(tmp_path: Path) -> None:
    source = SOURCE.replace("EXP_LAKE", "EXP_TOKEN")
    (error,) = errors(configs(tmp_path, spec(), source=source))

    assert error.startswith(
        "experiments/checkout_v2.yaml:6: source.use: found 'shop', whose facts.orders.path is ${EXP_TOKEN}; allowed are variables"
    )
    assert error.endswith("(defined in sources/shop.yaml)")


def test_a_broken_definition_is_told_once_and_breaks_only_what_uses_it(tmp_path: Path) -> None:
    broken = METRICS.replace("type: proportion", "type: share")
    group = spec("guarded", metrics="[{use: items, role: primary}, {group: standard_guardrails}]")
    used = spec("uses_it", metrics="[{use: buyers, role: primary}]")
    folder = configs(tmp_path, spec(), used, group, metrics=broken)

    assert set(load_all(folder).experiments) == {"checkout_v2"}
    fault = "metrics/shop.yaml:6: metrics[2].type: found 'share'; allowed: 'proportion', 'retention', 'count', 'mean'"
    told = errors(folder)
    assert [error.partition(": found")[0] for error in told] == [
        "experiments/guarded.yaml:7: metrics[1].group",
        "experiments/uses_it.yaml:7: metrics[0].use",
        "metrics/shop.yaml:6: metrics[2].type",
    ]
    assert f"'buyers'; its definition is broken: {fault}" in told[1]
    assert told[2].startswith(fault)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("sources/b.yaml", SOURCE.replace("owner: data-platform\n", ""), "owner: found nothing; this key is required"),
        ("sources/b.yaml", "- a\n", "found a list; a mapping of keys to values is required"),
        (
            "sources/b.yaml",
            SOURCE.replace("id: shop", "id: other").replace("exposed_at: ts", "exposed: ts"),
            "exposures.columns.exposed: found an unknown column; allowed: user_id, variant_id, exposed_at, other_id, event_id, experiment",
        ),
        ("metrics/b.yaml", "metric: []\n", "metric: found an unknown key; did you mean metrics? allowed: description, groups, metrics, owner"),
        ("metrics/b.yaml", "metrics: [{id: x, type: count, of: a, window: {to_day: 010}}]\n", "metrics[0].window.to_day: found 010; "),
        ("metrics/b.yaml", "groups: {g: [{metric: items, severity: critical}]}\n", "groups.g[0].margin: found nothing; only a guardrail"),
        ("metrics/b.yaml", "groups: {g: [items, itms]}\n", "groups.g[1]: found 'itms'; no file of metrics/ defines it; did you mean items?"),
        ("metrics/b.yaml", "groups: {g: [items, {metric: items, margin: 1%}]}\n", "groups.g[1]: found 'items'; it is there already"),
        ("metrics/b.yaml", "groups: {g: []}\n", "groups.g: found an empty group; at least one metric is required"),
        ("metrics/b.yaml", "a: [\n", "found text that is not YAML; "),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_with_its_place_and_costs_no_experiment_of_another_one(
    file: str, text: str, expected: str, tmp_path: Path
) -> None:
    folder = configs(tmp_path, spec())
    (folder / file).write_text(text)

    told = errors(folder)
    if "id: shop" not in text:
        assert set(load_all(folder).experiments) == {"checkout_v2"}
    (error,) = [error for error in told if error.startswith(file) and "is taken by" not in error]
    assert expected in error


def test_an_id_of_two_files_is_told_with_both_and_nobody_may_use_it(tmp_path: Path) -> None:
    metrics = "metrics:\n  - {id: items, type: count, of: orders}\n  - {id: free, type: count, of: orders}\n"
    folder = configs(tmp_path, spec(), spec("other", metrics="[{use: free, role: primary}]"))
    (folder / "metrics" / "z.yaml").write_text(metrics)
    (folder / "sources" / "z.yaml").write_text(SOURCE.replace("id: shop", "id: lake"))

    taken = "this id is taken by metrics/shop.yaml:5: ids are unique over all files"
    assert errors(folder) == [
        "experiments/checkout_v2.yaml:7: metrics[1]: found 'items'; its definition is broken: metrics/z.yaml:2: metrics[0].id: "
        f"found 'items'; {taken}",
        f"metrics/z.yaml:2: metrics[0].id: found 'items'; {taken}",
    ]
    assert set(load_all(folder).experiments) == {"other"}


def test_a_changed_definition_makes_exactly_its_users_out_of_date(tmp_path: Path) -> None:
    specs = [
        spec("both"),
        spec("first", metrics="[{use: shoe_revenue, role: primary}]"),
        spec("last", metrics="[{use: items, role: primary}]"),
        spec("ratio", metrics="[{id: own, type: count, of: orders, role: primary}]"),
    ]
    changes = {
        "where: {category: [shoes]}": ("where: {category: [boots]}", {"both", "first"}),
        "to_day: 7": ("to_day: 8", {"both", "last"}),
        "owner: growth": ("owner: nobody", set()),
        "Who ordered at all.": ("Whoever.", set()),
        "margin: 10%": ("margin: 20%", set()),
        "props.quantity": ("props.pieces", {"both", "last"}),
        "props.category": ("props.cat", {"both", "first"}),
        "ts, experiment": ("seen_at, experiment", {"both", "first", "last", "ratio"}),
    }
    before = {id: config_hash(e) for id, e in load_all(configs(tmp_path, *specs)).experiments.items()}
    for old, (new, changed) in changes.items():
        assert old in METRICS + SOURCE
        folder = configs(tmp_path, source=SOURCE.replace(old, new), metrics=METRICS.replace(old, new))
        after = {id: config_hash(e) for id, e in load_all(folder).experiments.items()}
        assert {id for id in before if before[id] != after[id]} == changed, old


def test_of_facts_that_an_experiment_does_not_read_nothing_follows(tmp_path: Path) -> None:
    before = only(configs(tmp_path, spec()))
    visits = "  visits: {path: v, columns: {other_id: device, occurred_at: ts, event_id: id}}\n"
    identities = "identities: {path: devices, columns: {user_id: uid, other_id: device}}\n"
    source = SOURCE.replace("attributes:", f"{visits}{identities}attributes:")
    after = only(configs(tmp_path, source=source))

    assert (after.source.identities, after.source.dedupe) == (None, "none")
    assert config_hash(after) == config_hash(before)
    read = spec(metrics="[{id: visits, type: count, of: visits, role: primary}]")
    visited = only(configs(tmp_path, read, source=source)).source
    assert visited.identities is not None
    assert visited.dedupe == "event_id"


def test_where_a_source_lies_is_told_of_the_file_that_says_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("EXP_LAKE", raising=False)
    experiment = only(configs(tmp_path, spec()))
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))

    assert experiment.source_file == f"{tmp_path}/sources/shop.yaml"
    with pytest.raises(ConfigError, match=r"sources/shop\.yaml: facts\.orders\.path: .* EXP_LAKE"):
        readings(experiment, load_environment())


def test_an_edit_of_a_definition_is_told_by_the_metrics_name_and_words_are_none(tmp_path: Path) -> None:
    before = only(configs(tmp_path, spec()))
    published = {"edits": None, "spec": json.dumps(asdict(before), default=str)}
    edited = METRICS.replace("[shoes]", "[boots]").replace("owner: growth", "owner: nobody")
    edited = edited.replace("type: mean, ", "type: mean, unit: EUR, ")
    source = SOURCE.replace("props.quantity", "props.pieces")
    now = only(configs(tmp_path, source=source, metrics=edited))

    (edit,) = edits_since(published, now, date(2026, 3, 9))
    shoes, boots = (f"orders.revenue where category is {name}" for name in ("shoes", "boots"))
    assert before.units == {}
    assert now.units == {"shoe_revenue": "EUR", "items": "EUR"}
    assert [(c.key, c.before, c.now) for c in edit.changes] == [
        ("source.facts.orders.table.columns.value.items", "props.quantity", "props.pieces"),
        ("metrics.shoe_revenue.numerator.event", shoes, boots),
        ("metrics.shoe_revenue.covariates.pre_shoe_revenue.measure.event", shoes, boots),
    ]


def test_library_files_are_read_once_and_by_who_uses_them_only(tmp_path: Path, monkeypatch) -> None:
    own = spec("own", metrics=INLINE_METRICS, source=INLINE)
    folder = configs(tmp_path, *(spec(f"e{n}") for n in range(20)), own)
    read: list[str] = []
    bounded = library.read_bounded
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))
    monkeypatch.setattr(library, "read_bounded", lambda path: read.append(path.parent.name) or bounded(path))

    assert len(load_all(folder).experiments) == 21
    assert read == ["sources", "metrics"]
    assert load_experiment("own").id == "own"
    assert len(read) == 2
    assert load_experiment("e7") == loading.load_all(folder).experiments["e7"]
    assert len(read) == 6


def test_entries_of_the_main_file_use_the_library_too(tmp_path: Path) -> None:
    folder = configs(tmp_path)
    lines = spec().splitlines()[1:]
    (folder / "dev.yaml").write_text("experiments:\n  mine:\n" + "".join(f"    {line}\n" for line in lines))

    experiment = only(folder)
    assert experiment.source.key == "mine"
    assert experiment.source.exposures.location == "sources/lake/exposures"
    (folder / "dev.yaml").write_text((folder / "dev.yaml").read_text().replace("use: shop", "use: shops"))
    assert errors(folder)[0].startswith("dev.yaml:7: experiments.mine.source.use: found 'shops'")


def test_an_error_that_no_check_foresaw_costs_that_file_alone(tmp_path: Path, monkeypatch) -> None:
    class Fails:
        @staticmethod
        def model_validate(_: object) -> None:
            raise RecursionError("too deep")

    monkeypatch.setattr(library, "SourceFileSpec", Fails)
    metrics = "[{id: a, type: proportion, event: buy, role: primary}, buyers]"
    own = spec("own", metrics=INLINE_METRICS, source=INLINE)
    folder = configs(tmp_path, own, spec("uses", metrics=metrics))

    assert set(load_all(folder).experiments) == {"own"}
    assert "sources/shop.yaml: found what cannot be read (RecursionError: too deep)" in errors(folder)[-1]
