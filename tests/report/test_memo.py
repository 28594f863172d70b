"""The memo's files: in the appendix the decision first and every section, in tables that Markdown readers can show."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from exp_platform.aggregates import Pooled
from exp_platform.analyses.rows import Status
from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment
from exp_platform.config.metrics import Effect, Provenance
from exp_platform.config.plans import AnalysisPlan, RelativeMethod
from exp_platform.decision import Reason
from exp_platform.report import charts, wording
from exp_platform.report.content import Report
from exp_platform.report.memo import appendix, as_json, write_memo
from exp_platform.report.one_page import render
from exp_platform.report.tables import results_table
from report.reports import report

SECTIONS = (
    "## Key lifts",
    "## CUPED and strata: the same effects with less noise",
    "## Difference in differences",
    "### Were the trends parallel before exposure?",
    "## Guardrails",
    "## Segments",
    "## Data quality",
    "## How to reproduce",
)


def test_the_decision_comes_first_with_its_reasons() -> None:
    text = appendix(report())
    assert text.startswith("# exp_test: ship t1\n")
    assert "| Users | control 4,000, t1 4,000 |" in text
    assert "| buys (primary) | t1 |" in text
    assert "buys went from 10.00 % to 15.00 % (+50.0 %" in text.split("## Key lifts")[0]
    assert "`SIGNIFICANTLY_BETTER`" in text.split("## Key lifts")[0]


def test_all_sections_are_there_in_order() -> None:
    text = appendix(report())
    assert [text.index(section) for section in SECTIONS] == sorted(
        text.index(section) for section in SECTIONS
    )


def test_every_table_is_one_that_markdown_shows() -> None:
    """A table needs a blank line before it and the same number of cells in each of its rows."""
    lines = appendix(report()).splitlines()
    heads = [i for i, line in enumerate(lines) if re.fullmatch(r"\|(-+:?\|)+", line)]
    assert len(heads) >= 6
    for head in heads:
        assert lines[head - 2] == "", f"no blank line before the table at line {head}"
        columns = lines[head].count("|")
        rows = [lines[head - 1]]
        for line in lines[head + 1 :]:
            if not line.startswith("|"):
                break
            rows.append(line)
        assert len(rows) > 1, f"the table at line {head} is empty"
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {columns}
        # one segment is called "phone | tablet": what the data hold stays within its cell


def test_what_the_data_hold_is_text_that_a_page_can_show() -> None:
    """No HTML, no NUL (which makes the page a binary file), and nothing that turns the direction of what follows."""
    made = report()
    hostile = "<script>x</script>\x00\u202e\r\n<!-- a < b"
    rows = tuple(
        replace(row, segment_value=hostile) if row.segment_value == "phone | tablet" else row
        for row in made.rows
    )
    text = appendix(replace(made, rows=rows))
    assert "| device = &lt;script>x&lt;/script>\\\\x00\\\\u202e &lt;!-- a < b |" in text
    assert not re.search("[\x00\u202e\r]|<[a-z!/]", text)


def test_metrics_are_told_as_they_were_when_the_results_were_stored() -> None:
    made = report()
    whose = {"buys": Provenance("shop", "Orders.", "configs/metrics/shop.yaml")}
    stored = replace(
        made.stored, definitions={"buys": "count of orders, days 0 to 7", "gone": "mean of tips"}
    )
    of_then = replace(made, stored=stored, experiment=replace(made.experiment, provenance=whose))

    now = "| buys | proportion of buys | – | the spec |"
    then = "| buys | count of orders, days 0 to 7 | shop | `configs/metrics/shop.yaml` |"
    assert now in appendix(made)
    assert now not in appendix(of_then)
    assert then in appendix(of_then)
    assert "| gone | mean of tips | – | the spec |" in appendix(of_then)


def test_no_effect_is_not_told_as_one() -> None:
    text = appendix(report(lift=0.0))
    assert text.startswith("# exp_test: inconclusive, ")
    assert "significantly better" not in text.split("## Key lifts")[0]


def test_a_failed_check_is_told_with_its_finding() -> None:
    failed = CheckResult(report().as_of_date, "srm", "warning", "failed", 1e-9, 0.001, "control: 40 %")
    text = appendix(report(checks=(failed,)))
    assert "investigate" in text.splitlines()[0]
    assert "the data cannot be trusted" in text.split("## Key lifts")[0]
    assert "| srm | warning | **failed** | control: 40 % |" in text


def test_adjusted_and_unadjusted_effects_stand_side_by_side() -> None:
    made = report()
    section = appendix(made).split("## CUPED")[1].split("\n## ")[0]
    cells = [cell.strip() for cell in re.findall(r"\| spend \| t1 \|.*", section)[0].split("|")[3:-1]]
    plain, adjusted = (next(r for r in made.of_method(m) if r.metric_id == "spend") for m in ("ab", "cuped"))
    assert f"{plain.estimate:+,.4g}" in cells[0]
    assert f"{adjusted.estimate:+,.4g}" in cells[2]
    assert f"{100 * adjusted.variance_reduction:.1f} %" == cells[4]
    assert cells[6:] == ["before", "ok"]


def test_tests_on_counts_are_named_and_welch_needs_no_word() -> None:
    made = report()
    assert "Tested on counts" not in wording.significance(made)
    rows = tuple(replace(r, test="exact") if r.metric_id == "buys" else r for r in made.rows)
    assert wording.significance(replace(made, rows=rows)).endswith(
        "Tested on counts: buys exactly, for want of outcomes."
    )


@pytest.mark.parametrize(
    ("correction", "told"),
    [("holm", "(Holm)"), ("bh", "At most that share of the significant results is expected to be false")],
)
def test_the_correction_is_named_with_what_it_promises(correction: str, told: str) -> None:
    made = report()
    assert "(Bonferroni)" in wording.significance(made)
    plan = replace(made.experiment, decision=replace(made.experiment.decision, correction=correction))
    assert told in wording.significance(replace(made, experiment=plan))


@pytest.mark.parametrize(
    ("by", "told"),
    [("delta", "by the delta method:"), ("log", "by the delta method on the log of the ratio:")],
)
def test_an_approximate_interval_is_called_so_wherever_it_is_shown(by: RelativeMethod, told: str) -> None:
    made = report(relative_interval=by)
    text = appendix(made)
    assert f"Relative intervals called approximate are {told}" in text
    plain = report()
    assert "pproximate" not in appendix(plain)
    for kind, approximate in ((made, True), (plain, False)):
        rows = kind.of_method("ab")
        assert all(wording.relative(r).endswith("], approximate") is approximate for r in rows)
        chart = charts.effects(rows, {})
        assert chart is not None
        assert ('"buys: t1, approximate"' in json.dumps(chart)) is approximate
        out = io.StringIO()
        Console(file=out, width=160).print(results_table(kind))
        assert ("approximate" in out.getvalue()) is approximate
    guardrail = next(r for r in made.rows if r.method == "guardrails")
    assert "approximate" not in wording.relative(guardrail)


def test_a_bayesian_reading_is_there_only_for_who_asked() -> None:
    plain = report()
    assert "## Bayesian reading" not in appendix(plain)
    asked = replace(plain.experiment, analyses=AnalysisPlan(bayes_prior_sd=Effect(0.3, "relative")))
    (buys,) = [row for row in plain.rows if (row.method, row.metric_id) == ("ab", "buys")]
    belief = replace(
        buys,
        method="bayes",
        chance_better=0.973,
        expected_loss=0.0004,
        expected_loss_control=0.05,
        prior_sd=0.03,
    )
    page = appendix(replace(plain, experiment=asked, rows=(*plain.rows, belief)))
    assert page.index("## Bayesian reading") < page.index("## Data quality")
    assert "| buys | t1 | 3.00 % | +5.00 pp" in page
    assert "| 97.3 % | 0.04 % / 5.00 % |" in page
    assert wording.reading(belief) == "better with a chance of 97.3 %"


@pytest.mark.parametrize(
    ("stage", "instead"),
    [
        ("quality", "the data was not judged, so no decision can be trusted"),
        ("aggregates", "the stored metric_aggregates_overall were used"),
        *((stage, "the stored rows were used") for stage in ("ab", "cuped", "did", "pretrends")),
    ],
)
def test_what_was_skipped_is_said_and_what_stands_in_for_it(stage: str, instead: str) -> None:
    assert f"**Skipped in this run:** {stage}: {instead}." in appendix(report(skipped=(stage,)))


def test_segments_carry_the_warning() -> None:
    text = appendix(report())
    assert "**Exploratory.**" in text


def test_segments_say_whether_their_effects_differ() -> None:
    made = report()
    rows = [r for r in made.rows if (r.method, r.metric_id, r.test) == ("segments", "buys", "interaction")]
    assert [wording.segment(r) for r in rows] == ["device, all values"]
    assert "| device | buys | t1 | – | INSUFFICIENT_DATA: 1 of 1 values can be tested" in appendix(made)
    found = replace(
        rows[0],
        status=Status.OK,
        degrees_of_freedom=3.0,
        p_value=0.04,
        verdict="equal",
        message="one left out",
    )
    assert "| device | buys | t1 | 4 | equal; one left out | 0.040 |" in appendix(
        replace(made, rows=tuple(found if r is rows[0] else r for r in made.rows))
    )
    assert wording.differing(replace(found, verdict=None, message=None)) == "open until the planned end"


def test_files_are_written_whole_with_a_picture_and_a_json_twin(environment: Environment) -> None:
    files = write_memo(report(days=3), environment)
    folder = Path(environment.memos_dir)
    text = Path(files.markdown).read_text()
    (picture,) = re.findall(r"\]\((exp_test/\w+\.png)\)", text)
    assert picture == "exp_test/over_time.png"
    assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    links = re.findall(r"[^!]\[[^\]]+\]\(([^)]+)\)", text)
    assert links == ["exp_test/appendix.md", "exp_test.html", "exp_test.json"]
    assert all((folder / link).is_file() for link in links)
    back = re.findall(r"\]\(([^)]+)\)", Path(files.appendix).read_text())
    assert [Path(files.appendix).parent.joinpath(link).resolve() for link in back] == [
        Path(files.markdown).resolve(),
        Path(files.html).resolve(),
    ]
    twin = json.loads(Path(files.json).read_text())
    assert (twin["winner"], twin["action"], twin["winning_variant"]) == ("treatment", "ship", "t1")
    assert twin["lift"] == pytest.approx(0.5)
    assert not list(folder.glob("**/*.partial"))


def test_a_picture_of_an_earlier_memo_does_not_outlive_it(environment: Environment) -> None:
    """Of one day alone there is no effect over the days, and the picture is of the effects; files of older versions go too."""
    pictures = Path(environment.memos_dir) / "exp_test"
    write_memo(report(days=3), environment)
    (pictures / "pretrends.png").write_bytes(b"of an older version")
    assert [path.name for path in sorted(pictures.glob("*.png"))] == ["over_time.png", "pretrends.png"]
    files = write_memo(report(days=1), environment)
    assert [path.name for path in pictures.glob("*.png")] == ["effects.png"]
    assert "](exp_test/effects.png)" in Path(files.markdown).read_text()


def test_the_twin_holds_the_numbers_of_the_page() -> None:
    made = report()
    twin = as_json(made)
    buys = next(r for r in twin["metrics"] if r["metric_id"] == "buys")
    assert (buys["mean_control"], buys["mean_treatment"]) == (pytest.approx(0.1), pytest.approx(0.15))
    assert twin["confidence"] == made.decision.confidence
    assert json.loads(json.dumps(twin, default=str))["reasons"][0]["code"]


def crowded(values: int) -> Report:
    """A report in which the segment has so many values, the last of them with the clearest difference."""
    made = report()
    (row,) = [
        r for r in made.rows if r.method == "segments" and r.metric_id == "buys" and r.test != "interaction"
    ]
    rows = [replace(row, segment_value=f"d{i:03}", log10_p=-float(i)) for i in range(values)]
    return replace(made, rows=tuple(r for r in made.rows if r is not row) + tuple(rows))


def test_of_thousands_of_segment_rows_the_clearest_are_shown_and_where_the_others_are() -> None:
    text = appendix(crowded(3000))
    shown = re.findall(r"\| device = (d\d+) \|", text)
    assert shown == [f"d{i}" for i in range(2999, 2949, -1)]
    assert "Shown are 50 of 3,000 rows, those with the smallest p" in text
    assert "`exp results exp_test --json`" in text
    assert len(as_json(crowded(3000))["segments"]) > 3000
    whole = appendix(crowded(50))
    assert re.findall(r"\| device = (d\d+) \|", whole) == [f"d{i:03}" for i in range(50)]
    assert "Shown are" not in whole


def test_pooled_values_are_told_with_the_segments() -> None:
    made = report()
    assert "Pooled values" not in appendix(made)
    pooled = Pooled("(rarer values)", 13, 387, False, 9000)
    stored = replace(made.stored, pooled={"city": {"city": pooled}, "city × tier": {"city": pooled}})
    told = replace(made, stored=stored)
    text = appendix(told)
    assert (
        "- of city the 13 most frequent values stand for themselves, and 387 rarer ones of 9,000 users"
        in text
    )
    assert "(in the strata city × tier)" in text
    assert as_json(told)["pooled"]["city"]["city"]["users"] == 9000
    console = Console(file=io.StringIO(), width=100)
    console.print(results_table(told, "segments", width=100))
    assert "387 rarer ones of 9,000" in " ".join(console.file.getvalue().split())


def test_a_terminal_shows_no_thousands_of_rows_either() -> None:
    console = Console(file=io.StringIO(), width=160)
    console.print(results_table(crowded(3000), "segments", width=160))
    text = console.file.getvalue()
    assert len(text.splitlines()) < 500
    assert "200 of 3,0" in text


def test_a_segment_value_of_a_megabyte_is_shown_by_its_beginning_and_end() -> None:
    made = report()
    value = "D" * 1_000_000
    rows = tuple(replace(row, segment_value=value) if row.method == "segments" else row for row in made.rows)
    told = appendix(replace(made, rows=rows))
    assert "device = DDDD" in told
    assert max(map(len, told.splitlines())) < 5_000


def test_a_final_decision_that_stands_is_told_by_its_own_numbers() -> None:
    """Today's rows are of an edited spec: its metric may be another one, and nothing of it may look like the reason."""
    made = report(lift=0.0)
    stands = Reason("FINAL_STANDS", "The final decision of 2025-03-14 stands.", {"read_as_of": "2025-03-14"})
    decision = replace(
        made.decision,
        winner="treatment",
        action="ship",
        winning_variant="t1",
        reported_variant="t1",
        decisive_metric="orders",
        lift=0.123,
        reasons=(stands, *made.decision.reasons),
    )
    memo = render(replace(made, decision=decision))
    assert memo.startswith(
        "# exp_test: ship t1\n\nDecided as of 2025-03-14, by the spec as it was then. orders: +12.3 % with t1."
    )
    without = replace(decision, action="stop", winner="inconclusive", winning_variant=None, lift=None)
    assert "No effect could be estimated" not in render(replace(made, decision=without))
