"""The page of one result: its blocks from top to bottom, whole and well-formed, the same numbers as everywhere, and a file of its own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markupsafe import Markup

from exp_platform import numbers
from exp_platform.analyses.rows import Status
from exp_platform.decision import Reason
from exp_platform.report.charts import ARMS, Chart
from exp_platform.report.content import Report
from exp_platform.report.html import Block, blocks, body, stylesheet
from exp_platform.report.html.file import html_file
from report.pages import Page
from report.reports import report
from report.several import early, failed, three_arms


def placed(name: str, chart: Chart) -> Markup:
    return Markup('<figure id="chart-{}"></figure>').format(name)


def page_of(made: Report) -> Page:
    return Page(body(blocks(made, placed)))


def block(made: Report, id: str) -> Block:
    (found,) = [one for one in blocks(made, placed) if one.id == id]
    return found


def test_the_answer_comes_first_then_trust_then_the_scorecard() -> None:
    made = blocks(three_arms(), placed)
    assert [b.id for b in made][:4] == ["decision", "trust", "scorecard", "over-time"]
    assert [b.id for b in made if not b.folded] == ["decision", "trust", "scorecard", "over-time"]
    assert all(b.says and b.title for b in made)
    assert made[0].title == "Ship t1"
    assert "+40.0 %" in Page(made[0].html).words


@pytest.mark.parametrize("made", [report(), report(lift=0.0), three_arms(), early(), failed()])
def test_every_page_is_well_formed_and_its_anchors_are_its_own(made: Report) -> None:
    page = page_of(made)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    labels = {attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs}
    assert labels
    assert labels <= set(ids)


def test_nothing_needs_what_a_strict_policy_forbids() -> None:
    """No script, no inline style, no event handler, no address of anything to load."""
    for tag, attrs in page_of(three_arms()).elements:
        assert tag not in ("script", "style", "link", "img", "iframe", "object", "form")
        assert not [
            name for name in attrs if name == "style" or name.startswith("on") or name in ("src", "href")
        ]


def test_every_table_has_as_many_cells_in_each_row() -> None:
    whole = body(blocks(three_arms(), placed))
    inner = re.findall(r'(?s)<table class="plain">.*?</table>', whole)
    outer = re.findall(
        r'(?s)<table class="scorecard">.*</table>', re.sub(r'(?s)<table class="plain">.*?</table>', "", whole)
    )
    assert len(inner) >= 8
    assert len(outer) == 1
    for table in [*inner, *outer]:
        rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
        widths = {
            sum(int(n or 1) for n in re.findall(r'<t[hd](?:(?!>)[^>]*?colspan="(\d+)")?[^>]*>', row))
            for row in rows
        }
        assert len(widths) == 1, rows[0]


def test_a_row_shows_levels_effects_interval_and_reading() -> None:
    made = three_arms()
    (row,) = [r for r in made.of_method("ab") if (r.metric_id, r.treatment_id) == ("buys", "t1")]
    words = Page(block(made, "scorecard").html).words
    for told in (
        "10.00 %",
        "14.00 %",
        "+40.0 %",
        numbers.percent_interval(row.relative_low, row.relative_high),
        "+4.00 pp",
        numbers.interval(row.ci_low, row.ci_high, "proportion"),
        "significantly better",
        numbers.p_value(row.p_adjusted),
    ):
        assert told in words


def test_the_interval_in_a_row_says_in_words_what_it_draws() -> None:
    page = Page(block(three_arms(), "scorecard").html)
    labels = [
        attrs["aria-label"] for tag, attrs in page.elements if tag == "svg" and attrs["class"] != "axis"
    ]
    assert "+40.0 % [+" in " ".join(map(str, labels))
    pictures = [attrs["class"] for tag, attrs in page.elements if tag == "svg"]
    assert pictures.count("effect good") == 2  # buys of t1, and latency of t1 is not worse
    assert pictures.count("effect bad") == 1  # latency of t2


def test_every_metric_opens_to_what_is_behind_it() -> None:
    page = Page(block(three_arms(), "scorecard").html)
    words = page.words
    for metric in ("buys", "latency", "spend", "clicks"):
        assert words.count(f"About {metric}") == 1
    for told in (
        "Definition",
        "Window",
        "Population",
        "Baseline",
        "Smallest effect planned for",
        "95th percentile",
    ):
        assert told in words
    assert "of the variance saved" in words
    assert sum(tag == "polyline" for tag, _ in page.elements) == 6  # buys and spend, three arms each


def test_where_trust_failed_the_effects_are_grey_and_the_remedy_stands_there() -> None:
    made = failed()
    card = block(made, "scorecard").html
    assert '<table class="scorecard muted">' in card
    assert "effect good" not in card
    assert "Mend what the failed check names" in Page(card).words
    assert "mend the assignment" in Page(block(made, "trust").html).words
    assert block(made, "trust").says == "The numbers cannot be trusted: freshness."


def test_before_the_end_the_page_says_what_counts_and_how_long_it_takes() -> None:
    words = Page(block(early(), "decision").html).words
    assert "only always-valid evidence counts yet" in words
    assert "Day 10 of 14" in words


def test_one_day_has_no_chart_over_the_days_and_says_when_there_is_one() -> None:
    one = replace(report(), daily=())
    assert "One day has been analysed so far" in Page(block(one, "over-time").html).words
    assert "chart-over_time" in block(report(days=2), "over-time").html


def test_an_experiment_without_a_past_says_what_it_lacks() -> None:
    made = report()
    plan = replace(made.experiment, analyses=replace(made.experiment.analyses, pre_period_days=0))
    bare = replace(made, experiment=plan, others=(), rows=tuple(r for r in made.rows if r.method != "cuped"))
    assert "has no pre-period" in Page(block(bare, "before-and-after").html).words
    assert "none: the experiment has no pre-period" in Page(block(bare, "scorecard").html).words


def test_a_final_decision_that_stands_is_shown_by_its_own_number() -> None:
    """Today's row is of an edited spec: its interval is not that of the number that was decided by."""
    made = three_arms()
    words = Page(block(made, "decision").html).words
    assert "+40.0 % buys with t1" in words
    assert "% interval" in words
    stood = replace(made, decision=replace(made.decision, lift=0.123))
    words = Page(block(stood, "decision").html).words
    assert "+12.3 % buys with t1" in words
    assert "% interval" not in words


def test_whatever_cost_trust_is_an_item_with_its_remedy() -> None:
    made = three_arms()
    reasons = (
        Reason("COVARIATES_UNBALANCED", "The estimate of buys cannot be trusted."),
        *made.decision.reasons,
    )
    doubted = replace(made, decision=replace(made.decision, reasons=reasons, trust="failed"))
    found = block(doubted, "trust")
    assert found.says == "The numbers cannot be trusted: covariates."
    assert "Look for a broken assignment" in Page(found.html).words


def test_a_history_tells_what_changed_from_day_to_day() -> None:
    made = three_arms()
    first, *rest = made.history
    changed = [
        replace(first, action="extend", winner="inconclusive", winning_variant=None, config_hash="d" * 64),
        *rest,
    ]
    html = block(replace(made, history=tuple(changed)), "history").html
    rows = [Page(row).words for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL)[1:]]
    assert [row[:10] for row in rows] == ["2025-03-14", "2025-03-13", "2025-03-12"]
    assert rows[1].endswith("decision, spec")
    assert rows[0].endswith("planned end reached")


def test_a_bare_report_of_no_result_at_all_is_a_page_too() -> None:
    made = three_arms()
    rows = tuple(
        replace(r, status=Status.INSUFFICIENT_DATA, estimate=None, relative=None, message="no users")
        for r in made.rows
    )
    words = page_of(replace(made, rows=rows, others=(), series=(), daily=(), history=(), split=())).words
    assert "No effect of buys (t1), buys (t2): too little data so far (no users)." in words


def test_the_file_holds_all_that_it_needs() -> None:
    page = html_file(three_arms())
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    found = Page(page)
    tags = [tag for tag, _ in found.elements]
    assert tags.count("style") == 1
    assert not {"script", "link", "img", "iframe"} & set(tags)
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))  # of the charts too, which all come from one renderer
    assert {"chart-over_time", "chart-users"} <= set(ids)
    targets = {str(attrs["href"])[1:] for tag, attrs in found.elements if tag == "a"}
    assert targets == {b.id for b in blocks(three_arms(), placed)}


def test_the_stylesheet_knows_both_themes_a_phone_and_paper() -> None:
    css = stylesheet()
    for asked in (
        "prefers-color-scheme: dark",
        ":root.dark",
        ":root:not(.light)",
        "max-width: 760px",
        "@media print",
    ):
        assert asked in css
    assert "url(" not in css
    for colour in ARMS:  # which charts are drawn with, whatever the theme
        assert f'[stroke="{colour}"]' in css
        assert f'[fill="{colour}"]' in css
    names = set(re.findall(r"var\((--[\w-]+)\)", css))
    assert names <= set(re.findall(r"(--[\w-]+):", css))
