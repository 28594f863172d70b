"""Whether one bucket's users find their outcomes: how many do, when around their exposure, and under which ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.config.experiment import Experiment
from exp_platform.config.kinds import COUNTING
from exp_platform.kernels.coded import Coded, Codes, Mask
from exp_platform.kernels.local_days import DAY, Ints, by_date, instant
from exp_platform.kernels.measured import MAX_EXAMPLES, SPELLED, Counts, Measured
from exp_platform.kernels.users import Users

_SECOND = 1_000_000
# Spans just before exposure, from the next event's in a log to that of a clock in another time zone.
SPANS = {"second": _SECOND, "minute": 60 * _SECOND, "hour": 3600 * _SECOND, "14 hours": 14 * 3600 * _SECOND}
EARLIER_DAYS = 7  # before the last day before exposure: what is usual

Around = dict[str, dict[str, Counts]]  # as `Measured.around`


@dataclass(frozen=True, eq=False)
class Rows:
    """Outcomes of one bucket, whatever their event, with the users assigned in it. Arrays of shape (rows,)."""

    at: Ints
    user: Codes  # position in the users who are assigned, -1 for any other
    stranger: Mask  # whose user has no exposure at all, inside the window or outside
    events: Coded

    def where(self, rows: Mask) -> Rows:
        """Some of the rows."""
        if rows.all():
            return self
        return Rows(self.at[rows], self.user[rows], self.stranger[rows], self.events.where(rows))


def marks_of(rows: Rows, users: Users, experiment: Experiment) -> Mask:
    """What each user has among outcomes of any event, shape (marks, users): see `marks`."""
    known = rows.user >= 0
    user = rows.user[known]
    lag = rows.at[known] - users.exposed_at[user]
    found = np.zeros((len(marks(experiment)), len(users)), dtype=np.bool_)
    found[0, user] = True
    found[1, user[lag < 0]] = True
    for number, event in enumerate(conversions(experiment)):
        of_event = (rows.events.positions(pa.array([event])) == 0)[known]
        mine, who = lag[of_event], user[of_event]
        for i, span in enumerate(SPANS.values()):
            found[2 + number * len(SPANS) + i, who[(mine < 0) & (mine >= -span)]] = True
    return found


def marks(experiment: Experiment) -> list[str]:
    """What a user's marks say: has any outcome, one from before exposure, and of each conversion one so shortly before it."""
    spans = [f"{event}: before, {span}" for event in conversions(experiment) for span in SPANS]
    return ["any", "before", *spans]


def matched(found: Mask, others: Any, users: Users, experiment: Experiment) -> Measured:
    """What marks tell of all users, and of the ids of `others` who have outcomes without any exposure; `around` of users alone."""
    names = [v.id for v in experiment.variants]
    spelled = _spelled(users.ids.filter(pa.array(~found[0])), others)
    with_any, before = np.flatnonzero(found[0]), np.flatnonzero(found[1])
    around: Around = {}
    for number, event in enumerate(conversions(experiment)):
        for i, span in enumerate(SPANS):
            arms = users.variants[found[2 + number * len(SPANS) + i]]
            for variant, n in zip(names, np.bincount(arms, minlength=len(names)).tolist(), strict=True):
                around.setdefault(variant, {}).setdefault(event, {})[f"users before, {span}"] = n
    return Measured(
        found=by_date(users.exposed_on[with_any], users.variants[with_any], names),
        found_before=by_date(users.exposed_on[before], users.variants[before], names),
        strangers={"users": len(others), "spelled": len(spelled)},
        examples={SPELLED: spelled[:MAX_EXAMPLES]} if spelled else {},
        around=around,
    )


def rows_around(rows: Rows, users: Users, experiment: Experiment) -> tuple[Around, dict[str, Counts]]:
    """Of conversions: variant -> event -> rows just before and just after exposure; and variant -> event -> rows from exposure to the window's end."""
    known = rows.user >= 0
    user = rows.user[known]
    lag, arm = rows.at[known] - users.exposed_at[user], users.variants[user]
    inside = rows.at[known] < instant(experiment.window.cutoff(experiment.window.end))
    around: Around = {}
    after: dict[str, Counts] = {}
    for event in conversions(experiment):
        of_event = (rows.events.positions(pa.array([event])) == 0)[known]
        mine, whose = lag[of_event], arm[of_event]
        for code, variant in enumerate(experiment.variants):
            of_arm = whose == code
            around.setdefault(variant.id, {})[event] = _near(mine[of_arm])
            if n := int((of_arm & (mine >= 0) & inside[of_event]).sum()):
                after.setdefault(variant.id, {})[event] = n
    return around, after


def _spelled(without: Any, others: Any) -> list[str]:
    """Users without outcomes whose id, spelled otherwise, has some: such as `'A1' is 'a1' there`, sorted."""
    if not len(without) or not len(others):
        return []
    mine, theirs = plain(without), plain(others)
    position = pc.index_in(mine, value_set=theirs)
    hit = pc.and_(position.is_valid(), mine.is_valid())
    pairs = zip(without.filter(hit).to_pylist(), others.take(position.filter(hit)).to_pylist(), strict=True)
    return sorted(f"{mine[:40]!r} is {other[:40]!r} there" for mine, other in pairs)


def plain(ids: Any) -> Any:
    """Ids without what exports change: case, spaces, braces, hyphens, leading zeros, a trailing `.0`."""
    plain = pc.replace_substring_regex(pc.utf8_lower(ids.cast(pa.string())), r"\.0+$", "")
    plain = pc.replace_substring_regex(plain, r"[^\pL\pN]", "")
    plain = pc.replace_substring_regex(plain, "^0+", "")
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)


def conversions(experiment: Experiment) -> list[str]:
    """Events that a metric tells from the moment of exposure on: whether there was one, or what it was worth.

    Events that are only counted, such as page views, are left out: a visit is what brings most users to their exposure.
    """
    measures = [
        m
        for metric in experiment.metrics
        if metric.window.start == 0
        for m in metric.measures
        if m.agg not in COUNTING
    ]
    return sorted({m.event for m in measures})


def _near(lag: Ints) -> Counts:
    earliest = -(EARLIER_DAYS + 1) * DAY
    counts = {
        "first day": int(((lag >= 0) & (lag < DAY)).sum()),
        "earlier": int(((lag >= earliest) & (lag < -DAY)).sum()),
    }
    for name, span in SPANS.items():
        counts[f"before, {name}"] = int(((lag < 0) & (lag >= -span)).sum())
        counts[f"after, {name}"] = int(((lag >= 0) & (lag < span)).sum())
    return counts
