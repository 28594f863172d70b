"""Whether one bucket's users find their outcomes: how many do, when around their exposure, and under which ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.kinds import COUNTING
from exp_platform.kernels.coded import Coded
from exp_platform.kernels.local_days import DAY, Ints, by_date
from exp_platform.kernels.measured import MAX_EXAMPLES, SPELLED, Counts
from exp_platform.kernels.users import Users

_SECOND = 1_000_000
# Spans just before exposure, from the next event's in a log to that of a clock in another time zone.
SPANS = {"second": _SECOND, "minute": 60 * _SECOND, "hour": 3600 * _SECOND, "14 hours": 14 * 3600 * _SECOND}
EARLIER_DAYS = 7  # before the last day before exposure: what is usual


@dataclass(frozen=True)
class Matched:
    """What `Measured` has under the same names."""

    found: dict[str, Counts] = field(default_factory=dict)
    found_before: dict[str, Counts] = field(default_factory=dict)
    strangers: Counts = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    around: dict[str, dict[str, Counts]] = field(default_factory=dict)


def matched(
    ids: Coded,
    events: Coded,
    occurred_at: Ints,
    user: NDArray[np.int64],
    stranger: NDArray[np.bool_],
    users: Users,
    experiment: Experiment,
) -> Matched:
    """Match all outcomes of one bucket, whatever their event, with the users assigned in it.

    `ids` (each once) and `events` are those of the outcomes, `user` is the position of each row's user in `users`, -1 for
    others; `stranger` says which of those have no exposure at all, inside the window or outside.
    """
    known = user >= 0
    lag = occurred_at[known] - users.exposed_at[user[known]]
    found = np.zeros(len(users), dtype=np.bool_)
    found[user[known]] = True
    before = np.zeros(len(users), dtype=np.bool_)
    before[user[known][lag < 0]] = True
    others = ids.values.take(pa.array(_in_order(ids.codes[stranger])))
    names = [v.id for v in experiment.variants]
    spelled = _spelled(users.ids.filter(pa.array(~found)), others)
    return Matched(
        found=by_date(users.exposed_on[found], users.variants[found], names),
        found_before=by_date(users.exposed_on[before], users.variants[before], names),
        strangers={"users": len(others), "spelled": len(spelled)},
        examples={SPELLED: spelled[:MAX_EXAMPLES]} if spelled else {},
        around=_around(Coded(events.codes[known], events.values), lag, user[known], users, experiment),
    )


def _in_order(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each code once, in the order in which they come."""
    found, first = np.unique(codes, return_index=True)
    return np.asarray(found[np.argsort(first)])


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


def _around(
    events: Coded, lag: Ints, user: NDArray[np.int64], users: Users, experiment: Experiment
) -> dict[str, dict[str, Counts]]:
    """Variant -> event -> rows just before and just after exposure, as `Measured.around` has them."""
    around: dict[str, dict[str, Counts]] = {}
    for event in conversions(experiment):
        rows = events.positions(pa.array([event])) == 0
        mine, who = lag[rows], user[rows]
        arm = users.variants[who]
        for code, variant in enumerate(experiment.variants):
            counts = _near(mine[arm == code], who[arm == code])
            if any(counts.values()):
                around.setdefault(variant.id, {})[event] = counts
    return around


def _near(lag: Ints, user: NDArray[np.int64]) -> Counts:
    earliest = -(EARLIER_DAYS + 1) * DAY
    counts = {
        "first day": int(((lag >= 0) & (lag < DAY)).sum()),
        "earlier": int(((lag >= earliest) & (lag < -DAY)).sum()),
    }
    for name, span in SPANS.items():
        before = (lag < 0) & (lag >= -span)
        counts[f"before, {name}"] = int(before.sum())
        counts[f"users before, {name}"] = len(np.unique(user[before]))
        counts[f"after, {name}"] = int(((lag >= 0) & (lag < span)).sum())
    return counts
