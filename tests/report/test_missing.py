"""Rows without a number are one sentence for each reason, in words and not in codes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from exp_platform.analyses.rows import Status
from exp_platform.report.missing import WORDS, plainly, told


def row(metric: str, status: Status, message: str | None = None, treatment: str = "t1") -> SimpleNamespace:
    return SimpleNamespace(metric_id=metric, treatment_id=treatment, status=status, message=message)


def test_rows_with_numbers_stay_and_the_others_are_told_by_their_reason() -> None:
    short = "7 days before: 21 are needed"
    rows = [
        row("a", Status.INSUFFICIENT_DATA, short),
        row("b", Status.OK),
        row("c", Status.INSUFFICIENT_DATA, short),
        row("d", Status.NOT_APPLICABLE, "a ratio has no days"),
    ]
    found = told(rows)
    assert found.rows == [rows[1]]
    assert found.without == [
        f"No effect of a, c: too little data so far ({short}).",
        "No effect of d: nothing to estimate it by (a ratio has no days).",
    ]


def test_messages_that_differ_are_left_to_their_reason() -> None:
    rows = [row("a", Status.DEGENERATE, "all are 1"), row("b", Status.DEGENERATE, "all are 2")]
    assert told(rows).without == ["No effect of a, b: the metric does not vary."]


def test_of_several_treatments_each_is_named_and_one_metric_once() -> None:
    rows = [row("a", Status.NOT_YET, treatment=t) for t in ("t1", "t2")]
    assert told(rows, treatments=2).without == ["No effect of a (t1), a (t2): not yet."]
    assert told(rows).without == ["No effect of a: not yet."]


def test_every_status_has_words() -> None:
    assert WORDS.keys() == set(Status) - {Status.OK}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("INSUFFICIENT_DATA: 3 users", "too little data so far: 3 users"),
        ("NOT_APPLICABLE", "nothing to estimate it by"),
        ("DEGENERATED minds", "DEGENERATED minds"),
        ("not significant", "not significant"),
    ],
)
def test_a_code_at_the_beginning_is_put_into_words(said: str, shown: str) -> None:
    assert plainly(said) == shown
