"""The memo is one page, whatever the experiment is like, and says what every other form of the result says."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from markupsafe import Markup

from exp_platform import numbers
from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment
from exp_platform.config.metrics import Role
from exp_platform.decision import Reason
from exp_platform.report.content import Report
from exp_platform.report.html import blocks, body
from exp_platform.report.memo import appendix, as_json
from exp_platform.report.one_page import LINES, PICTURES, Picture, render
from report.pages import Page
from report.reports import report
from report.several import early, failed, three_arms

REPORTS = {"one treatment": report, "three arms": three_arms, "before the end": early, "failed": failed}
PICTURE = Picture("over_time", "exp_test/over_time.png")


def crowded() -> Report:
    """A result with much of everything: metrics, reasons, checks that failed, skipped stages, metrics without a number."""
    made = three_arms()
    metrics = tuple(replace(m, id=f"{m.id}_{i}") for i in range(12) for m in made.experiment.metrics)
    rows = tuple(replace(r, metric_id=f"{r.metric_id}_{i}") for i in range(12) for r in made.rows)
    reasons = tuple(Reason(f"REASON_{i}", f"Reason number {i}.") for i in range(40))
    checks = tuple(
        CheckResult(made.as_of_date, f"check_{i}", "warning", "failed", 1.0, 0.0, "wrong") for i in range(30)
    )
    return replace(
        made,
        experiment=replace(made.experiment, metrics=metrics),
        rows=rows,
        checks=checks,
        decision=replace(made.decision, reasons=reasons, trust="failed", action="investigate"),
        stored=replace(made.stored, skipped=("quality", "aggregates", "ab", "cuped", "did", "pretrends")),
        deleted_on=made.as_of_date,
        unreadable=tuple(f"file {i}" for i in range(9)),
    )


@pytest.mark.parametrize("made", [*(make() for make in REPORTS.values()), crowded()])
def test_it_is_never_longer_than_a_page(made: Report) -> None:
    text = render(made, PICTURE)
    assert 25 < text.count("\n") <= LINES


def test_what_has_no_room_is_counted_and_what_decides_comes_first() -> None:
    text = render(crowded())
    assert "- and 33 more, which the appendix has" in text
    shown = re.findall(r"^\| (\w+) \(.*?\) \|", text, re.MULTILINE)
    assert len(shown) == 12
    assert {name.partition("_")[0] for name in shown} == {"buys"}
    left = int(re.findall(r"(\d+) more rows are in the appendix", text)[0])
    assert left > 50
    assert "Reason number 39." in appendix(crowded())


def test_it_says_in_order_what_was_decided_why_what_to_do_and_whether_to_believe_it() -> None:
    text = render(report(), PICTURE)
    parts = (
        "# exp_test: ship t1",
        "significantly better",
        "**What to do next:** Roll out t1",
        "## Scorecard",
        "![",
        "## Can",
    )
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert "Nothing was found that speaks against the numbers." in text


def test_metrics_without_a_number_are_one_sentence() -> None:
    text = render(three_arms())
    assert text.count("too little data so far") == 1
    assert "No effect of refunds (t1), refunds (t2), reviews (t1), reviews (t2)" in text


def test_where_trust_failed_the_page_says_so_above_the_numbers_and_how_to_mend_it() -> None:
    text = render(failed())
    assert text.index("**Not to be read:**") < text.index("| Metric |")
    assert "significantly better" not in text.split("## Scorecard")[1]
    assert "mend the assignment" in text.split("## Can the numbers be believed?")[1]


def test_before_the_end_it_says_what_counts_and_until_when() -> None:
    text = render(early())
    assert "when only always-valid evidence counts. Day 10 of 14; planned end 2025-03-14." in text


def test_every_picture_has_words_for_who_does_not_see_it() -> None:
    for name, words in PICTURES.items():
        assert f"![{words}](exp_test/{name}.png)" in render(report(), Picture(name, f"exp_test/{name}.png"))


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_all_forms_say_the_same_numbers(make: object, environment: Environment) -> None:
    """Of every comparison with an effect the twin's numbers stand, written for people, on the page, in the appendix and as HTML."""
    made: Report = make()  # type: ignore[operator]
    twin = json.loads(json.dumps(as_json(made), default=str))
    page, behind = render(made), appendix(made)
    html = Page(body(blocks(made, lambda name, chart: Markup("")))).words
    rows = [r for r in twin["metrics"] if r["status"] == "OK" and r["role"] in (Role.PRIMARY, Role.SECONDARY)]
    assert len(rows) >= 2
    for row in rows:
        kind = row["metric_kind"]
        told = (
            numbers.level(row["mean_control"], kind),
            numbers.level(row["mean_treatment"], kind),
            numbers.percent(row["relative"]),
            numbers.percent_interval(row["relative_low"], row["relative_high"]),
            numbers.change(row["estimate"], kind),
            numbers.interval(row["ci_low"], row["ci_high"], kind),
            numbers.p_value(row["p_adjusted"]),
        )
        for form in (page, behind, html):
            assert all(one in form for one in told), (row["metric_id"], told)
    headline = page.splitlines()[0].partition(": ")[2]
    assert headline in behind.splitlines()[0]
    assert headline.lower() in html.lower()
    for users in made.stored.users.values():
        assert all(numbers.count(users) in form for form in (page, behind, html))
