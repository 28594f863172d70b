"""Numbers read alike wherever they stand: one style of per cent, and a metric's unit behind each of its levels and effects."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from decision.cases import before_any_run
from exp_platform import numbers
from exp_platform.analyses.rows import ResultRow
from exp_platform.decision import decide
from exp_platform.orchestration.dag_doc import dag_doc
from exp_platform.planning.metric_plan import plan_metric
from exp_platform.report import charts
from exp_platform.report.content import Report
from exp_platform.report.drawings import drawings
from exp_platform.report.events import events_of
from exp_platform.report.html.file import html_file
from exp_platform.report.memo import appendix, as_json
from exp_platform.report.one_page import render
from exp_platform.report.plan import plan_table
from exp_platform.report.tables import decision_panel, results_table
from exp_platform.stages.graph import STAGES
from report.pages import Page
from report.reports import report


def told(*tables: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=400)
    for table in tables:
        console.print(table)
    return out.getvalue()


def terminal(of: Report) -> str:
    methods = ("ab", "cuped", "segments", "guardrails", "sample_sizes", "srm")
    return told(decision_panel(of), *(results_table(of, method, width=400) for method in methods))


def events(of: Report) -> str:
    return "\n".join(f"{e.sentence} {e.numbers} {e.next_step}" for e in events_of(of))


def planned(of: Report) -> str:
    plans = [plan_metric(of.experiment, m) for m in of.experiment.metrics]
    return told(plan_table(of.experiment, plans, width=400))


def page(of: Report) -> str:
    """What is read of the report, without its stylesheet and the spec as it ran, which names the units."""
    return Page(re.sub(r"<(style|pre).*?</\1>", "", html_file(of), flags=re.DOTALL)).words


BAND = "effect and always-valid band"
FORMS: dict[str, Callable[[Report], str]] = {
    "memo": render,
    "appendix": lambda of: html.unescape(appendix(of)),
    "page": page,
    "terminal": terminal,
    "events": events,
    "plan": planned,
}


@pytest.fixture(scope="module")
def plain() -> Report:
    return report(days=2)


@pytest.fixture(scope="module")
def declared(plain: Report) -> Report:
    units = {"spend": "EUR", "visits": "visits"}
    return replace(plain, experiment=replace(plain.experiment, units=units))


@pytest.mark.parametrize("form", FORMS)
def test_per_cent_stands_behind_a_space_wherever_it_is_written(plain: Report, form: str) -> None:
    text = FORMS[form](plain)
    assert re.search(r"\d %", text)
    assert re.findall(r".{20}\d%.{5}", text) == []


def test_per_cent_stands_behind_a_space_in_pictures_too(plain: Report) -> None:
    chart = drawings(plain)["effects"]
    assert chart is not None
    labels = re.findall(r">([^<>]*%)</text>", charts.svg(chart))
    assert len(labels) > 2
    assert all(re.fullmatch(r"[+−-]?\d+(\.\d)? %", label) for label in labels), labels


@pytest.mark.parametrize("form", ["memo", "appendix", "page", "terminal"])
def test_the_unit_stands_behind_every_level_and_effect_of_its_metric(
    plain: Report, declared: Report, form: str
) -> None:
    """Written here by hand: four digits, a space, the unit, once with an interval. Without the declaration nothing of it is there."""
    row = next(r for r in declared.rows if (r.method, r.metric_id, r.segment) == ("ab", "spend", "all"))
    text = FORMS[form](declared).replace(",", "")
    for value in (row.mean_control, row.mean_treatment):
        assert f"{value:.4g} EUR" in text
    assert f"{row.estimate:+.4g} EUR" in text
    assert f"[{row.ci_low:+.4g} {row.ci_high:+.4g}]" in text
    assert "EUR" not in FORMS[form](plain)
    assert re.search(r"\d visits\b", text)


@pytest.mark.parametrize("form", FORMS)
def test_a_unit_changes_no_number(plain: Report, declared: Report, form: str) -> None:
    """The same text once units are taken out of it; shares stay per cent and points."""

    def without(text: str) -> list[str]:
        return re.sub(r"[│╭╮╰╯─━]", " ", re.sub(r"(?<=[\d\]]) (EUR|visits)", "", text)).split()

    before, after = (without(FORMS[form](of)) for of in (plain, declared))
    assert before == after


def test_a_unit_changes_no_decision_and_stands_in_reasons_that_name_an_effect(plain: Report) -> None:
    rows = [
        replace(r, relative=None, margin_relative=None, verdict="observed_breach")
        if isinstance(r, ResultRow) and (r.method, r.metric_id) == ("guardrails", "visits")
        else r
        for r in (*plain.rows, *plain.others)
    ]
    bare, in_units = (
        decide(
            replace(plain.experiment, units=units), before_any_run(plain.experiment), rows, plain.checks, ()
        )
        for units in ({}, {"visits": "visits"})
    )
    told_of = [reason.text for reason in in_units.reasons if reason.code.startswith("GUARDRAIL")]
    assert any(
        re.search(r"[+-][\d.]+ visits against a margin of [+-][\d.]+ visits", text) for text in told_of
    )
    assert replace(in_units, reasons=()) == replace(bare, reasons=())
    assert [(r.code, r.data) for r in in_units.reasons] == [(r.code, r.data) for r in bare.reasons]


def test_programs_get_the_unit_beside_numbers_that_stay_as_they_were(plain: Report, declared: Report) -> None:
    twins = [json.loads(json.dumps(as_json(of), default=str)) for of in (plain, declared)]
    assert [twin.pop("units") for twin in twins] == [{}, {"spend": "EUR", "visits": "visits"}]
    assert twins[0] == twins[1]


def test_a_chart_of_one_metric_names_its_unit_beside_its_axis(plain: Report) -> None:
    of = replace(plain, experiment=replace(plain.experiment, units={"buys": "orders"}))
    for one, title in ((of, f"{BAND}, orders"), (plain, BAND)):
        drawn = charts.svg(drawings(one)["over_time"] or {})
        written = re.findall(r">([^<>]+)</text>", drawn)
        assert [text for text in written if text.startswith("effect")] == [title]


def test_the_dags_page_writes_sizes_as_all_others_do(declared: Report) -> None:
    text = dag_doc(declared.experiment, STAGES, ())
    assert "margin 10.0 % of control" in text
    assert numbers.DASH not in text.partition("## Metrics")[2].partition("## To run")[0]
