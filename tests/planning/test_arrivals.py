"""Users come in as they were seen to, and then as lately."""

from __future__ import annotations

from datetime import timedelta

import pytest

from analyses.simulated import BEFORE_END, START, aggregates, experiment, metric
from exp_platform.aggregates import DailyRow
from exp_platform.planning.arrivals import Arrivals, arrivals_of

SPEC = experiment(metric("orders"), metric("visits"))


def day_with(new_users: list[int]) -> list[DailyRow]:
    """So many new users per arm on each of the first days; both metrics repeat them."""
    return [
        DailyRow(START + timedelta(days=i), variant, m, n, 0, 0.0)
        for i, n in enumerate(new_users)
        for variant in ("control", "t1")
        for m in ("orders", "visits")
    ]


def test_users_of_an_even_stream() -> None:
    even = Arrivals(daily=100.0)
    assert (even.users(14), even.days(1400), even.days(1401), even.days(0)) == (1400, 14, 15, 0)


def test_a_stream_that_dries_up_takes_longer_than_its_first_days_promise() -> None:
    found = arrivals_of(SPEC, aggregates([], BEFORE_END, daily=day_with([500, 200, *[50] * 8])))
    assert found == Arrivals(100.0, (1000, 400, *[100] * 8))
    assert [found.users(d) for d in (1, 2, 10, 14)] == [1000, 1400, 2200, 2600]
    assert [found.days(n) for n in (1000, 1001, 2200, 2201, 2600)] == [1, 2, 10, 11, 14]


def test_both_directions_agree() -> None:
    found = Arrivals(7.5, (3, 0, 40))
    for days in range(1, 12):
        assert found.days(found.users(days)) <= days
        assert found.users(found.days(found.users(days))) == pytest.approx(found.users(days), abs=1)


def test_nothing_is_known_where_nobody_came() -> None:
    assert arrivals_of(SPEC, aggregates([], BEFORE_END)) is None
