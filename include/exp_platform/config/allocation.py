"""Allocations: the shares of new users that the arms get, and since when. Several dated ones are a ramp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

CROSS = " × "  # joins the names and values of crossed segments
PERIOD = (
    "allocation_period"  # in the Moments and results, the segment of users by the allocation they came under
)

Shares = tuple[float, ...]


@dataclass(frozen=True)
class Allocation:
    """From local day `start` until the next allocation new users are assigned with these shares, control's first."""

    start: date
    shares: Shares


def in_period(start: date | str, segment: str, value: str) -> tuple[str, str]:
    """Name and value of a segment crossed with the period that begins on `start`."""
    return CROSS.join((PERIOD, segment)), CROSS.join((str(start), value))


def planned_shares(ramp: Sequence[Allocation], end: date) -> Shares:
    """Each arm's share of the users of the whole window, whose last day is `end`, if as many come every day."""
    days = _days(ramp, end)
    return tuple(
        sum(d * a.shares[arm] for d, a in zip(days, ramp, strict=True)) / sum(days)
        for arm in range(len(ramp[0].shares))
    )


def effective_shares(ramp: Sequence[Allocation], end: date) -> Shares:
    """The constant shares with which the arms' means would be as precise as standardised over the periods.

    With N users and a period's share f of them, an arm's mean has variance sum f^2 v / (N f e) = v / N sum f / e: that of
    the harmonic mean of its shares e. They add up to 1 at most.
    """
    days = _days(ramp, end)
    return tuple(
        sum(days) / sum(d / a.shares[arm] for d, a in zip(days, ramp, strict=True))
        for arm in range(len(ramp[0].shares))
    )


def _days(ramp: Sequence[Allocation], end: date) -> list[int]:
    starts = [a.start for a in ramp]
    return [(b - a).days for a, b in pairwise(starts)] + [(end - starts[-1]).days + 1]
