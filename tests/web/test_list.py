"""The list of experiments: states, what is searched for, and text that is only text."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from exp_platform.results.newest import Effect, Newest
from exp_platform.web.drawing import interval, scale_of
from exp_platform.web.listing import Line, State, Wanted, line_of
from stages.frozen_runs import an_experiment
from web.conftest import Reader

LIST = "/experiments/"


def at(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)


def newest(**more: Any) -> Newest:
    values: dict[str, Any] = {
        "experiment_id": "exp_a",
        "as_of_date": date(2025, 3, 14),
        "run_id": "r",
        "computed_at": at("2025-03-15"),
        "winner": "treatment",
        "action": "ship",
        "winning_variant": "t1",
        "lift": 0.1,
        "final": True,
        "users": 10,
        "trust": "ok",
        "metric_id": "orders",
        "reported_variant": "t1",
        "outcome": "better",
        "estimate": "ab",
        "days_remaining": 0,
    }
    return Newest(**values | more)


@pytest.mark.parametrize(
    ("day", "found", "state", "told"),
    [
        ("2025-02-28", None, State.NOT_STARTED, "starts on 2025-03-01"),
        ("2025-03-01", None, State.RUNNING, "running, day 1 of 14"),
        ("2025-03-09", newest(final=False), State.RUNNING, "running, day 9 of 14, decided early"),
        ("2025-03-14", None, State.RUNNING, "running, day 14 of 14"),
        ("2025-03-15", None, State.ENDED, "ended on 2025-03-14, not decided"),
        ("2025-03-15", newest(), State.DECIDED, "decided as of 2025-03-14"),
        ("2025-03-15", newest(action="stop"), State.DECIDED, "decided as of 2025-03-14"),
        ("2025-03-15", newest(action="investigate"), State.ENDED, "ended on 2025-03-14, not decided"),
    ],
)
def test_the_state_follows_from_spec_day_and_decision(
    day: str, found: Newest | None, state: State, told: str
) -> None:
    line = line_of("exp_a", an_experiment(), found, None, at(day))
    assert (line.state, line.told) == (state, told)


def test_the_day_is_that_of_the_experiments_own_zone() -> None:
    """At noon of the first of March in UTC the second has begun in Kiritimati."""
    experiment = an_experiment()
    far = replace(experiment, window=replace(experiment.window, timezone="Pacific/Kiritimati"))
    assert line_of("exp_a", far, None, None, at("2025-03-01")).told == "running, day 2 of 14"


def lines() -> list[Line]:
    """Three lines of three owners: one decided, one that runs, one without a spec."""
    first = replace(an_experiment("exp_a"), owner="Shop", tags=("new", "mail"))
    second = replace(an_experiment("exp_b"), owner="games", hypothesis="Gates keep players")
    now = at("2025-03-09")
    return [
        line_of("exp_a", first, newest(users=5, lift=0.3), None, now),
        line_of("exp_b", second, newest(final=False, action="extend", users=9, lift=-0.2), None, now),
        line_of("exp_c", None, None, None, now),
    ]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(), "a b c"),
        (Wanted(q="GATES players"), "b"),
        (Wanted(q="mail shop"), "a"),
        (Wanted(q="gates shop"), ""),
        (Wanted(state="running"), "b"),
        (Wanted(decision="ship"), "a"),
        (Wanted(owner="Shop"), "a"),
        (Wanted(tag="mail"), "a"),
        (Wanted(tag="mai"), ""),
        (Wanted(sort="users"), "b a c"),
        (Wanted(sort="lift"), "a b c"),
        (Wanted(sort="owner"), "b a c"),
        (Wanted(sort="no such order"), "a b c"),
    ],
)
def test_what_is_asked_for_comes_in_order(wanted: Wanted, ids: str) -> None:
    assert [line.id for line in wanted.of(lines())] == [f"exp_{id}" for id in ids.split()]


def test_an_effect_that_cannot_be_trusted_is_sorted_by_nothing() -> None:
    failed = line_of("exp_z", an_experiment(), newest(trust="failed", lift=9.0), None, at("2025-03-09"))
    assert [line.id for line in Wanted(sort="lift").of([failed, *lines()])] == [
        "exp_a",
        "exp_b",
        "exp_c",
        "exp_z",
    ]


def test_the_page_lists_what_one_may_read_and_text_stays_text(reader: Reader) -> None:
    page = reader("vera").get(LIST).text
    for id in ("exp_a", "exp_never", "exp_broken"):
        assert f'href="/experiments/e/{id}"' in page
    assert "&lt;b&gt;Never&lt;/b&gt; run &amp; bold" in page
    assert "<b>Never" not in page
    assert "style=" not in page
    assert " onclick" not in page


def test_a_search_is_one_address_that_says_all(reader: Reader) -> None:
    page = reader("vera").get(LIST, params={"q": "never", "owner": "checkout"}).text
    assert 'href="/experiments/e/exp_never"' in page
    assert 'href="/experiments/e/exp_a"' not in page
    assert "1 of 5" in page
    assert 'value="never"' in page


def test_a_search_for_nothing_that_is_there_is_a_page_that_helps(reader: Reader) -> None:
    page = reader("vera").get(LIST, params={"q": '"><script>x</script>'}).text
    assert "None of 5 experiments is like that" in page
    assert "<script>x" not in page


def test_the_file_has_the_same_lines_and_no_formula(reader: Reader) -> None:
    answer = reader("vera").get("/experiments/experiments.csv", params={"q": "never"})
    assert answer.headers["content-disposition"] == 'attachment; filename="experiments.csv"'
    head, row = answer.text.splitlines()
    assert head.startswith("id,hypothesis,owner")
    assert row.startswith("exp_never,<b>Never</b> run & bold,checkout")
    from exp_platform.web.downloads import text_cell

    assert text_cell("=cmd|' /C calc'!A0") == "'=cmd|' /C calc'!A0"
    assert text_cell(-1.5) == -1.5


def test_a_picture_is_drawn_on_the_lists_one_scale_and_cut_with_an_arrow() -> None:
    def effect(low: float, high: float) -> Effect:
        return Effect("mean", 1.0, (low + high) / 2, low, high, 0.95)

    ordinary = [effect(-0.05, 0.08)] * 9
    assert scale_of([*ordinary, effect(-3, 3), None]) == 0.1
    assert interval(effect(-0.05, 0.08), 0.1, "open").count("<path") == 0
    assert interval(effect(-0.05, 3.0), 0.1, "open").count("<path") == 1
    assert interval(effect(-3.0, 3.0), 0.1, "open").count("<path") == 2
