"""The scorecard: the spec's order, which row decides, no colour before its evidence counts, one scale for all intervals."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.metrics import Role
from exp_platform.report.content import Report
from exp_platform.report.scorecard import Line, Scale, Tone, scale_of, scorecard
from report.reports import report
from report.several import early, failed, three_arms


def line(made: Report, metric: str, treatment: str, method: str = "ab") -> Line:
    (found,) = [
        one
        for one in scorecard(made).lines
        if (one.row.metric_id, one.row.treatment_id, one.row.method) == (metric, treatment, method)
    ]
    return found


def edited(made: Report, metric: str, **changes: object) -> Report:
    """The report with the unadjusted rows of a metric changed."""
    rows = [replace(r, **changes) if (r.metric_id, r.method) == (metric, "ab") else r for r in made.rows]
    return replace(made, rows=tuple(rows))


def test_groups_and_metrics_stand_in_their_order_whatever_was_found() -> None:
    card = scorecard(three_arms())
    assert [group.role for group in card.groups] == [
        Role.PRIMARY,
        Role.GUARDRAIL,
        Role.SECONDARY,
        Role.INFORMATIONAL,
    ]
    told = [(line.row.metric_id, line.row.treatment_id, line.row.method) for line in card.lines]
    assert told == [
        ("buys", "t1", "ab"),
        ("buys", "t2", "ab"),
        ("latency", "t1", "guardrails"),
        ("latency", "t2", "guardrails"),
        ("spend", "t1", "ab"),
        ("spend", "t1", "cuped"),
        ("spend", "t2", "ab"),
        ("spend", "t2", "cuped"),
        ("clicks", "t1", "ab"),
        ("clicks", "t2", "ab"),
    ]


def test_the_row_that_decides_comes_first_and_says_so() -> None:
    made = three_arms()
    assert (line(made, "buys", "t1").part, line(made, "spend", "t1").part) == ("decides", "counts")
    assert (line(made, "spend", "t1", "cuped").part, line(made, "clicks", "t1").part) == ("", "")
    adjusted = replace(made.experiment, decision=replace(made.experiment.decision, estimate="cuped"))
    made = replace(made, experiment=adjusted)
    assert (line(made, "spend", "t1", "cuped").part, line(made, "spend", "t1").part) == ("counts", "")
    assert [one.row.method for one in scorecard(made).lines if one.row.metric_id == "spend"][:2] == [
        "cuped",
        "ab",
    ]
    # Nothing is there to adjust buys by, so its unadjusted row decides.
    assert line(made, "buys", "t1").part == "decides"


def test_a_colour_waits_for_its_evidence() -> None:
    made = edited(early(), "buys", significant=False, always_valid_significant=False, p_value=1e-9)
    assert (line(made, "buys", "t1").tone, line(made, "buys", "t1").reading) == (
        Tone.OPEN,
        "no difference shown so far",
    )
    shown = edited(made, "buys", always_valid_significant=True)
    assert (line(shown, "buys", "t1").tone, line(shown, "buys", "t1").reading) == (
        Tone.GOOD,
        "significantly better",
    )


def test_green_is_good_and_not_up() -> None:
    made = edited(three_arms(), "buys", significant=True)
    assert line(made, "buys", "t1").tone == Tone.GOOD
    metrics = tuple(replace(m, direction=-1) if m.id == "buys" else m for m in made.experiment.metrics)
    falls = replace(made, experiment=replace(made.experiment, metrics=metrics))
    assert (line(falls, "buys", "t1").tone, line(falls, "buys", "t1").reading) == (
        Tone.BAD,
        "significantly worse",
    )


def test_what_stands_beside_the_row_that_counts_is_never_coloured() -> None:
    made = three_arms()
    rows = tuple(replace(r, significant=True) if r.method == "cuped" else r for r in made.rows)
    beside = line(replace(made, rows=rows), "spend", "t1", "cuped")
    assert beside.tone == Tone.OPEN
    assert beside.reading.endswith("does not decide")


def test_better_by_less_than_is_worth_having_is_not_green() -> None:
    made = three_arms()
    verdicts = tuple(
        replace(t, outcome="below_practical") if t.treatment_id == "t1" else t
        for t in made.decision.treatments
    )
    small = replace(made, decision=replace(made.decision, treatments=verdicts))
    assert (line(small, "buys", "t1").tone, line(small, "buys", "t1").reading) == (
        Tone.OPEN,
        "better, by less than is worth having",
    )


@pytest.mark.parametrize(
    ("treatment", "tone", "said"),
    [("t1", Tone.GOOD, "not worse than its margin"), ("t2", Tone.BAD, "worse than its margin")],
)
def test_a_guardrail_is_read_against_its_margin(treatment: str, tone: Tone, said: str) -> None:
    """Latency must not rise by more than 10 %; in t2 it rises by 30 %."""
    found = line(three_arms(), "latency", treatment, "guardrails")
    assert (found.tone, found.part, found.margin) == (tone, "guards", pytest.approx(0.1))
    assert found.reading.startswith(said)


def test_an_absolute_margin_is_drawn_as_a_share_of_control() -> None:
    made = three_arms()
    rows = tuple(
        replace(r, margin_relative=None, margin=5.0, mean_control=100.0) if r.method == "guardrails" else r
        for r in made.rows
    )
    assert line(replace(made, rows=rows), "latency", "t1", "guardrails").margin == pytest.approx(0.05)


def test_where_trust_failed_nothing_is_claimed() -> None:
    card = scorecard(failed())
    assert card.muted
    assert {one.tone for one in card.lines} == {Tone.MUTED}
    assert {one.reading for one in card.lines} == {"not to be read"}


def test_metrics_without_a_number_are_one_sentence() -> None:
    (secondary,) = [group for group in scorecard(three_arms()).groups if group.role == Role.SECONDARY]
    assert [of.metric.id for of in secondary.metrics] == ["spend"]
    (sentence,) = secondary.without
    assert sentence.startswith(
        "No effect of refunds (t1), refunds (t2), reviews (t1), reviews (t2): too little data so far (1 users"
    )


def test_metrics_that_lack_different_things_are_told_apart() -> None:
    made = edited(three_arms(), "reviews", status=Status.DEGENERATE, message="all are 1")
    (secondary,) = [group for group in scorecard(made).groups if group.role == Role.SECONDARY]
    assert len(secondary.without) == 2
    assert secondary.without[1] == (
        "No effect of reviews (t1), reviews (t2): the metric does not vary (all are 1)."
    )


def test_one_arm_needs_no_name_in_a_sentence() -> None:
    made = edited(report(), "spend", status=Status.INSUFFICIENT_DATA, estimate=None, message=None)
    (secondary,) = [group for group in scorecard(made).groups if group.role == Role.SECONDARY]
    assert secondary.without == ("No effect of spend: too little data so far.",)


def test_the_level_of_a_groups_intervals_is_told() -> None:
    """Two treatments on three metrics that are corrected together, and two more that are no longer told of: 8 comparisons."""
    primary, guardrail = scorecard(three_arms()).groups[:2]
    assert primary.level == f"{100 * (1 - 0.045 / 8):.4g} %"
    assert guardrail.level == "95.5 %"


def drawn(relative: float, low: float | None, high: float | None, margin: float | None = None) -> Line:
    row: ResultRow = replace(
        report().rows[0],
        status=Status.OK,
        estimate=1.0,
        relative=relative,
        relative_low=low,
        relative_high=high,
    )
    return Line(row, "", "", Tone.OPEN, "", margin)


def test_the_scale_holds_zero_all_estimates_and_margins() -> None:
    scale = scale_of([drawn(0.3, 0.2, 0.4), drawn(0.35, 0.3, 0.41, margin=-0.2)])
    assert scale.low < -0.2 < 0 < 0.41 < scale.high
    assert not any(map(scale.beyond, (0.0, 0.2, 0.41, -0.2)))
    assert scale.place(0.0, 0.0) < scale.place(0.2, 0.0) < scale.place(0.41, 0.0) < 1


def test_one_wide_interval_is_cut_off_and_the_others_stay_readable() -> None:
    scale = scale_of([drawn(0.01, -0.02, 0.04), drawn(0.02, -0.01, 0.05), drawn(0.1, -4.0, 9.0)])
    assert scale.beyond(-4.0)
    assert scale.beyond(9.0)
    assert scale.place(9.0, 0.0) == 1.0
    assert scale.place(0.05, 0.0) - scale.place(-0.01, 0.0) > 0.1


def test_an_open_side_lies_at_the_end_of_the_scale() -> None:
    scale = scale_of([drawn(0.1, None, 0.2), drawn(0.1, 0.0, 0.2)])
    assert scale.beyond(None)
    assert scale.place(None, float("-inf")) == 0.0
    assert scale.place(None, float("inf")) == 1.0


@pytest.mark.parametrize("size", [0.003, 0.04, 0.7, 12.0])
def test_ticks_are_round_and_few_and_zero_is_one_of_them(size: float) -> None:
    ticks = Scale(-size, 1.5 * size).ticks
    assert 3 <= len(ticks) <= 7
    assert min(map(abs, ticks)) == pytest.approx(0.0, abs=1e-12)
    steps = {round((b - a) / size, 9) for a, b in pairwise(ticks)}
    assert len(steps) == 1


def test_a_report_without_any_number_still_has_a_scale() -> None:
    assert scale_of([]) == Scale(-0.1, 0.1)
