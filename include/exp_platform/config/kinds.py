"""The kinds of metrics as data: what each adds up, what a spec says of it, and where it can be used.

A new kind is an entry here, an estimator (`analyses.estimators`) and, only where it adds up outcomes in a new way, an entry of
`kernels.user_values`. Nothing else asks which kind a metric is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Agg = Literal["sum", "count", "any", "distinct", "days", "first", "last", "max", "min"]
COUNTING: frozenset[Agg] = frozenset(
    {"count", "distinct", "days"}
)  # what counts rows, or what stands in them
PICKED: frozenset[Agg] = frozenset({"first", "last", "max", "min"})  # what takes the value of one row
OF_ROWS = COUNTING | PICKED  # what a table of units, with its one row per user, has nothing for
VALUED: frozenset[Agg] = frozenset({"sum", *PICKED})  # what reads values
Test = Literal["welch", "score"]


@dataclass(frozen=True)
class MetricKind:
    """How users' outcomes become one number per user (two of a kind with two measures), and what follows from it."""

    name: str
    agg: Agg | None  # what it adds up of its event or column; None: its numerator and its denominator say it
    share: bool = False  # whether a user's number is 0 or 1, so that the mean is a share of the users
    requires: Mapping[str, str] = field(default_factory=dict)  # key of the spec -> what of it, in a message
    threshold: bool = (
        False  # whether a number of rows, or a sum of values, may be asked for instead of one row
    )
    winsorised: bool = False
    adjusted: bool = True  # by covariates and strata
    tests: tuple[Test, ...] = ("welch",)  # the first unless the spec says otherwise
    by_cohort: bool = True
    not_daily: str = ""  # why it has no series by day since exposure, where it has none
    not_ramped: str = ""  # why it cannot be combined over the allocations of a ramp, where it cannot

    @property
    def columns(self) -> tuple[str, ...]:
        """A user's numbers as the Moments name them."""
        return ("value", "denominator") if self.agg is None else ("value",)

    @property
    def keys(self) -> frozenset[str]:
        """Of the spec's keys that only some kinds take (`REFUSED`) those of this one."""
        measured = [] if self.agg is None else ["event", "column", "of", "where"]
        measured += ["value"] * (self.agg in VALUED) + ["at_least"] * self.threshold
        measured += ["winsorise"] * self.winsorised + ["covariates"] * self.adjusted
        return frozenset((*self.requires, *measured, *["unit"] * (not self.share)))


_SIDE = "it, such as {sum: purchase} or {count: purchase}"

KINDS: dict[str, MetricKind] = {
    kind.name: kind
    for kind in (
        # share of users with at least one event, or with as many as `at_least` says
        MetricKind("proportion", "any", share=True, threshold=True, tests=("welch", "score")),
        # a proportion over a window of days after exposure
        MetricKind(
            "retention",
            "any",
            share=True,
            requires={"window": "its days, such as {from_day: 7, to_day: 8}"},
            tests=("welch", "score"),
            not_daily="a retention has no value per user and day",
        ),
        # events per user
        MetricKind("count", "count", winsorised=True),
        # sum of values per user
        MetricKind("mean", "sum", winsorised=True),
        # different values of a dimension per user, or local days with an event
        MetricKind(
            "count_distinct",
            "distinct",
            requires={"distinct": "what is counted: a dimension of the fact, or day"},
            winsorised=True,
            not_daily="what is counted on one day may be counted on the next one again",
        ),
        # value of the one row of a user that is the first, the last, the largest or the smallest
        *(
            MetricKind(agg, agg, winsorised=True, not_daily=f"a {agg} of days is no {agg} of their rows")
            for agg in ("first", "last", "max", "min")
        ),
        # sum of numerators over sum of denominators (delta method)
        MetricKind(
            "ratio",
            None,
            requires={"numerator": _SIDE, "denominator": _SIDE},
            not_daily="a ratio has no value per user and day",
        ),
        # quantile over users of the sum of values per user
        MetricKind(
            "quantile",
            "sum",
            requires={"q": "it, such as q: 0.9"},
            adjusted=False,
            by_cohort=False,
            not_daily="a quantile of users' differences is not a difference of their quantiles",
            not_ramped=(
                "a quantile of users of several allocations is not made of the periods' quantiles: take a mean, winsorised "
                "where tails are heavy, or the proportion beyond a limit"
            ),
        ),
    )
}


def is_share(kind: str) -> bool:
    """Whether numbers of that kind of metric are shares of users; not of an unknown kind."""
    return kind in KINDS and KINDS[kind].share


_ONLY_OF_TWO = "only a ratio has one, and this metric is a {kind}"
_OF_TWO = "a {kind} is made of numerator and denominator instead"

# Keys that only some kinds take: what was found (None: as it was written), and what is said to the other kinds.
REFUSED: dict[str, tuple[str | None, str]] = {
    "numerator": ("a measure", _ONLY_OF_TWO),
    "denominator": ("a measure", _ONLY_OF_TWO),
    "event": (None, _OF_TWO),
    "column": (None, _OF_TWO),
    "of": (None, _OF_TWO),
    "where": ("a filter", _OF_TWO),
    "value": (None, "a {kind} is of rows, not of their values: leave it out"),
    "distinct": (None, "only a count_distinct counts different values, never a {kind}"),
    "at_least": (None, "only a proportion has a threshold, never a {kind}"),
    "q": (None, "only a quantile has one"),
    "winsorise": ("a cap", "a {kind} is not winsorised: leave it out"),
    "unit": (None, "a {kind} is a share of users, written per cent: leave the unit out"),
    "covariates": ("covariates", "CUPED does not adjust a {kind}: leave the covariates out"),
}
IN_UNITS = (
    "allowed are mean, quantile, proportion and ratios of sum or any"  # kinds of a table of one row per user
)
OF_ONE_USER = "name a count, a mean or a proportion"  # kinds that tell users apart
