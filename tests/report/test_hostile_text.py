"""Hostile text in everything that a spec or the data may hold, and each output in which it is shown.

Every free text is another one, so that an output that lets one of them through says which. What nobody can choose (ids,
which match a pattern, statuses, words of the platform) stays as it is.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from exp_platform.aggregates import Pooled, RowAccount, Threshold
from exp_platform.analyses.rows import EventStudyRow, Explained, PretrendDeltaRow, ResultRow, Status
from exp_platform.checks import CheckResult
from exp_platform.config.awaited import Awaited
from exp_platform.config.metrics import Behaviour, Measure
from exp_platform.config.sources import EventsSource, TableSource
from exp_platform.escaping import line
from exp_platform.orchestration.dag_doc import dag_doc
from exp_platform.planning.metric_plan import plan_metric
from exp_platform.report.content import Report
from exp_platform.report.html.file import html_file
from exp_platform.report.memo import appendix, as_json
from exp_platform.report.one_page import render
from exp_platform.report.plan import durations_table, plan_lines, plan_table
from exp_platform.report.tables import decision_panel, results_table, rows_table
from exp_platform.stages.graph import STAGES
from report.pages import Page
from report.reports import report

READERS = (MarkdownIt("commonmark").enable("table"), MarkdownIt("gfm-like", {"linkify": True}))
ATTACKS = (
    "<script>alert({n})</script>",
    "<img src=x{n} onerror=alert(1)>",
    "[here{n}](javascript:alert(1)) ![p](https://evil{n}.test/p.png)",
    "https://evil{n}.test <https://evil{n}.test> a{n}@evil.test www.evil{n}.test",
    "a{n} | b |\n\n# heading\n\n- item\n\n```\n===\n---",
    "\x1b[31m\x1b]0;title{n}\x07\x9b2J\u202eright{n}\u2066 \u200b",
    "[/nope{n}] [bold red]x [link=https://evil{n}.test]y[/link] :smile:",
    "`{n}` *{n}* _{n}_ &lt;{n} \\{n} ~~{n}~~",
    "=cmd|' /C calc'!A{n} R&D: Ä ☕ p < 0.0{n}",
)
SEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]")


class Attacks(Iterator[str]):
    """Hostile texts, each another one; it remembers them."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __next__(self) -> str:
        n = len(self.given)
        self.given.append(ATTACKS[n % len(ATTACKS)].replace("{n}", str(100 + n)))
        return self.given[-1]


FREE_OF_A_ROW = (
    "segment_value",
    "segment",
    "message",
    "caution",
    "covariates",
    "stratified_by",
    "health",
    "verdict",
)


def attacked(attacks: Attacks) -> Report:
    """A whole report in which every free text is hostile: the spec's, the data's, and messages that quote either."""
    made = report(days=2)
    rows = [attacked_row(row, attacks) for row in made.rows]
    others = tuple(
        replace(r, status=Status.DEGENERATE, message=next(attacks)) if isinstance(r, Explained) else r
        for r in made.others
    )
    stored = replace(
        made.stored,
        pooled={next(attacks): {next(attacks): Pooled(next(attacks), 13, 387, False, 9000)}},
        thresholds={next(attacks): Threshold(next(attacks), 3.0, 0.1, 100, date(2025, 3, 1), "r")},
        rows={next(attacks): RowAccount(3, {next(attacks): 1}, {next(attacks): 2})},
    )
    reasons = tuple(replace(reason, text=next(attacks)) for reason in made.decision.reasons)
    checks = tuple(
        CheckResult(made.as_of_date, next(attacks), "warning", status, 1.0, 0.0, next(attacks))
        for status in ("failed", "skipped", "passed")
    )
    source = EventsSource(
        TableSource("csv", f"s3://lake/{next(attacks)}", {}),
        TableSource("csv", next(attacks), {}),
        {},
        "none",
    )
    experiment = replace(
        made.experiment,
        owner=next(attacks),
        hypothesis=next(attacks),
        description="\n\n".join(next(attacks) for _ in ATTACKS),
        tags=(next(attacks),),
        spec_file=next(attacks),
        segments=(next(attacks),),
        behaviours=(Behaviour(next(attacks), Measure(next(attacks), "sum"), 0.1, None),),
        metrics=tuple(replace(m, numerator=Measure(next(attacks), "sum")) for m in made.experiment.metrics),
        source=source,
        units={m.id: next(attacks) for m in made.experiment.metrics},
    )
    return replace(
        made,
        experiment=experiment,
        rows=tuple(rows),
        stored=stored,
        checks=checks,
        decision=replace(made.decision, reasons=reasons),
        unreadable=(next(attacks),),
        others=others,
    )


def attacked_row(row: ResultRow, attacks: Attacks) -> ResultRow:
    """A row whose free texts are hostile; `all` stays where it means everybody, as the platform writes it."""
    told = [
        n
        for n in FREE_OF_A_ROW
        if not (n in ("segment", "segment_value") and row.method not in ("segments", "srm"))
    ]
    return replace(row, **{name: next(attacks) for name in told})


@pytest.fixture(scope="module")
def attacks() -> Attacks:
    return Attacks()


@pytest.fixture(scope="module")
def hostile(attacks: Attacks) -> Report:
    return attacked(attacks)


def harmless(page: str, reader: MarkdownIt, links: int) -> str:
    """The text of a Markdown page as a browser shows it; it may hold no elements but the page's own."""
    made = reader.render(page)
    assert set(re.findall(r"<(/?\w+)", made)) <= {
        f"{end}{tag}"
        for end in ("", "/")
        for tag in (
            [
                "h1",
                "h2",
                "h3",
                "p",
                "ul",
                "li",
                "table",
                "thead",
                "tbody",
                "tr",
                "th",
                "td",
                "strong",
                "em",
                "code",
                "pre",
                "blockquote",
                "br",
            ]
            + ["a"] * links
        )
    }
    assert made.count("<a ") == links
    assert not SEEN.search(page.replace("\n", ""))
    return words(html.unescape(re.sub(r"<[^>]+>", "", made)))


def words(text: str) -> str:
    return " ".join(text.split())


def shown_whole(given: list[str], text: str) -> list[str]:
    """Which of the texts read as they were written."""
    return [one for one in given if words(line(one)) in text]


@pytest.mark.parametrize("reader", READERS)
def test_an_appendix_is_text_whatever_it_quotes(
    hostile: Report, attacks: Attacks, reader: MarkdownIt
) -> None:
    """Tables keep their shape, headings are the template's, and every text reads as it was written."""
    page = appendix(hostile)
    text = harmless(page, reader, links=2)
    plain = report(days=2)
    heads = re.findall(r"<h\d>(.*?)</h\d>", reader.render(page))
    assert len(heads) == len(set(heads)) <= 20
    assert heads[0] == re.findall(r"<h1>(.*?)</h1>", reader.render(appendix(plain)))[0]
    for table in reader.render(page).split("<table>")[1:]:
        rows = [len(re.findall("<t[hd]", row)) for row in table.partition("</table>")[0].split("<tr>")[1:]]
        assert len(set(rows)) == 1
    assert hostile.experiment.hypothesis in attacks.given
    for one in (
        hostile.experiment.hypothesis,
        hostile.experiment.owner,
        *(reason.text for reason in hostile.decision.reasons),
        *(check.message for check in hostile.checks if check.status != "passed"),
        *(
            row.segment_value
            for row in hostile.rows
            if row.method == "segments" and row.test != "interaction" and row.role == "primary"
        ),
    ):
        assert shown_whole([one], text), one
    assert len(shown_whole(attacks.given, text)) > 40


@pytest.mark.parametrize("reader", READERS)
def test_a_memo_is_a_page_of_text_whatever_it_quotes(hostile: Report, reader: MarkdownIt) -> None:
    page = render(hostile)
    text = harmless(page, reader, links=3)  # appendix, report, rows
    assert re.findall(r"<h\d>", reader.render(page)) == ["<h1>", "<h2>", "<h2>"]
    for table in reader.render(page).split("<table>")[1:]:
        rows = [len(re.findall("<t[hd]", row)) for row in table.partition("</table>")[0].split("<tr>")[1:]]
        assert len(set(rows)) == 1
    for one in (
        hostile.experiment.hypothesis,
        hostile.experiment.owner,
        *(reason.text for reason in hostile.decision.reasons),
        *(check.message for check in hostile.checks if check.status == "failed"),
    ):
        assert shown_whole([one], text), one


def test_a_page_of_html_has_no_element_of_what_it_quotes(hostile: Report, attacks: Attacks) -> None:
    """Whatever is written in specs and data reads as it was written, and the page has the elements that it has without it."""
    page, plain = Page(html_file(hostile)), Page(html_file(report(days=2)))
    ours = {tag for tag, _ in plain.elements} | {"strong", "h3", "tbody", "dd", "dt", "pre"}
    assert {tag for tag, _ in page.elements} <= ours
    known = {name for _, attrs in plain.elements for name in attrs}
    assert {name for _, attrs in page.elements for name in attrs} <= known
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on")]
    assert [attrs["href"] for tag, attrs in page.elements if tag == "a"] == [
        attrs["href"] for tag, attrs in plain.elements if tag == "a"
    ]
    text = "".join(page.text)
    assert not SEEN.search(text.replace("\n", ""))
    told = words(text)
    experiment = hostile.experiment
    for one in (
        experiment.hypothesis,
        experiment.owner,
        *(reason.text for reason in hostile.decision.reasons),
        *(check.message for check in hostile.checks),
        *(
            row.segment_value
            for row in hostile.rows
            if row.method == "segments" and row.test != "interaction" and row.role == "primary"
        ),
        *hostile.unreadable,
    ):
        assert shown_whole([one], told), one
    assert len(shown_whole(attacks.given, told)) > 40


def test_the_twin_is_json_of_what_was_written(hostile: Report, attacks: Attacks) -> None:
    written = json.dumps(as_json(hostile), default=str)
    assert written.isascii()
    assert not SEEN.search(written)
    found = json.dumps(json.loads(written), ensure_ascii=False)
    assert any(json.dumps(one, ensure_ascii=False).strip('"') in found for one in attacks.given)


@pytest.mark.parametrize("markup", [True, False])
def test_no_table_on_a_terminal_obeys_what_it_shows(hostile: Report, markup: bool) -> None:
    """`[/]` in a value ended `exp results`; an escape sequence of one set the terminal's title."""
    out = io.StringIO()
    console = Console(file=out, width=3000, markup=markup)
    console.print(decision_panel(hostile))
    for method in ("ab", "cuped", "segments", "stability", "guardrails", "srm"):
        console.print(results_table(hostile, method, width=3000))
    console.print(rows_table(hostile))
    shown = out.getvalue()
    assert not SEEN.search(shown.replace("\n", ""))
    told = words(re.sub("[│╭╮╰╯─]", " ", shown))
    for one in (
        *(reason.text for reason in hostile.decision.reasons),
        *(r.segment_value for r in hostile.rows if r.method == "segments" and r.test != "interaction"),
    ):
        assert all(words(line(part)) in told for part in one.splitlines()), one


def test_a_plan_on_a_terminal_obeys_nothing(hostile: Report) -> None:
    out = io.StringIO()
    console = Console(file=out, width=3000)
    plans = [
        replace(plan_metric(hostile.experiment, m), source="[/x] \x1b[31m.csv")
        for m in hostile.experiment.metrics
    ]
    console.print(plan_table(hostile.experiment, plans, width=3000))
    for plan in plans:
        console.print(durations_table(hostile.experiment, plan))
    assert plan_lines(hostile.experiment, plans)
    assert r"[/x] \x1b[31m.csv" in out.getvalue()


@pytest.mark.parametrize("reader", READERS)
def test_a_dags_page_holds_no_link_of_the_specs_author(
    hostile: Report, attacks: Attacks, reader: MarkdownIt
) -> None:
    """Airflow shows it as Markdown. Its own links are five: results, runs, all experiments, the DAG that starts it, its asset."""
    awaited = (Awaited("exposures", f"s3://lake/{next(attacks)}", "csv"),)
    page = dag_doc(hostile.experiment, STAGES, awaited)
    text = harmless(page, reader, links=5)
    experiment = hostile.experiment
    for one in (
        experiment.hypothesis,
        experiment.owner,
        *experiment.description.split("\n"),
        experiment.spec_file,
    ):
        assert words(line(one)) in text, one
    assert all(words(line(m.numerator.event)) in text for m in experiment.metrics)
    for table in reader.render(page).split("<table>")[1:]:
        rows = [len(re.findall("<t[hd]", row)) for row in table.partition("</table>")[0].split("<tr>")[1:]]
        assert len(set(rows)) == 1


def test_every_text_of_a_result_row_is_known_as_free_or_ours() -> None:
    """A column that is added later must be said to be free text, or to be made of the platform's own words."""
    ours = {
        "experiment_id", "run_id", "method", "metric_id", "metric_kind", "role", "treatment_id", "control_id", "test",
        "correction", "coverage", "relative_kind", "slopes", "severity", "status", "always_valid_status", "estimated_by",
    }  # fmt: skip
    texts = {f.name for f in fields(ResultRow) if re.match(r"str|Status", str(f.type))}
    assert texts - ours == set(FREE_OF_A_ROW)


def test_charts_show_only_ids(hostile: Report, tmp_path: Path) -> None:
    """Vega draws labels as text; still nothing free is in them, nor in the names of their files."""
    from exp_platform.report import charts

    made = [
        charts.effects(hostile.of_method("ab"), {}),
        charts.effect_over_time(hostile.series),
        charts.pretrends(hostile.of(PretrendDeltaRow)),
        charts.event_study(hostile.of(EventStudyRow)),
    ]
    told = [json.dumps(chart) for chart in made if chart is not None]
    assert told
    assert not any(re.search("evil|script|onerror|u001b", one) for one in told)
