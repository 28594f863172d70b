"""Segments of many values: the most frequent stand for themselves, in all buckets alike, and the rarer ones are pooled.

A table of thousands of values is nothing that a person reads, and Moments of each are no summary any more. A bucket sees only
its own users. So it counts them by value, and leaves out segments that have too many; which values are kept is decided from
the counts of all buckets, and a further round makes the groups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exp_platform.aggregates import Pooled
from exp_platform.config.experiment import Experiment
from exp_platform.kernels.behaviour import attribute_of
from exp_platform.kernels.user_values import Snapshot
from exp_platform.kernels.users import Attribute, crossed

MOST_VALUES = 60  # of a segment, with the pooled one: the states and territories of the USA and `unknown` fit
MOST_STRATA = 200  # of crossed segments, as a product of their values
MOST_COUNTED = (
    10_000  # values that a bucket counts, the most frequent: of a segment of ids only these are candidates
)
RARER = "(rarer values)"


@dataclass(frozen=True)
class Pool:
    """Which values of an attribute are kept, the most frequent first, and the name that all others go by."""

    kept: tuple[str, ...]
    name: str
    values: int  # that are pooled, ...
    more: bool  # ... or more: some were not counted


# Segment (or crossed strata) -> attribute that is pooled in it -> how
Pools = Mapping[str, Mapping[str, Pool]]


@dataclass(frozen=True)
class ValueCounts:
    """Assigned users of all arms by value, crossovers included; `more`: of a bucket's rarest values nothing is known."""

    users: Mapping[str, int]
    more: bool = False

    @staticmethod
    def of(attribute: Attribute) -> ValueCounts:
        """One bucket's."""
        users = np.bincount(attribute.codes, minlength=len(attribute.values))
        order = np.argsort(-users, kind="stable")[:MOST_COUNTED]  # values are sorted: of equals the first
        counts = {attribute.values[i]: int(users[i]) for i in order if users[i] > 0}
        return ValueCounts(counts, bool(len(counts) < np.count_nonzero(users)))

    @staticmethod
    def of_all(parts: Sequence[ValueCounts]) -> ValueCounts:
        """Disjoint users together."""
        total: Counter[str] = Counter()
        for part in parts:
            total.update(part.users)
        return ValueCounts(total, any(part.more for part in parts))

    def pool(self, most: int) -> Pool | None:
        """How to have no more than `most` values, the pooled one among them; None where there are no more.

        By users, descending, then by value. A kept value that has the pool's name gets no company: the pool takes another.
        """
        if len(self.users) <= most:
            return None
        ranked = sorted(self.users, key=lambda value: (-self.users[value], value))
        kept, name = tuple(ranked[: most - 1]), RARER
        while name in kept:
            name = f"({name})"
        return Pool(kept, name, len(ranked) - len(kept), self.more)


def pools_of(counts: Sequence[Mapping[str, ValueCounts]], experiment: Experiment) -> Pools:
    """What to pool, from all buckets' counts by segment: {} where every segment, and the strata, have few values.

    Crossed strata are made of as many values of each attribute as leave no more than MOST_STRATA combinations.
    """
    total = {segment: ValueCounts.of_all([part[segment] for part in counts]) for segment in counts[0]}
    pools = {s: {s: pool} for s, users in total.items() if (pool := users.pool(MOST_VALUES)) is not None}
    strata = experiment.analyses.strata
    if len(strata) > 1:
        sizes = [len(total[segment].users) for segment in strata]
        most = MOST_VALUES
        while most > 1 and math.prod(min(n, most) for n in sizes) > MOST_STRATA:
            most -= 1
        crossing = {s: pool for s in strata if (pool := total[s].pool(most)) is not None}
        if crossing:
            pools[experiment.analyses.strata_segment] = crossing
    return pools


def segments_of(now: Snapshot, pools: Pools) -> tuple[dict[str, Attribute], dict[str, ValueCounts]]:
    """The segments and, where strata are crossed, those; and how many users have each value of a segment.

    A segment that has too many values in this bucket and is in no pool is left out.
    """
    experiment = now.experiment
    recorded = {s: _occurring(attribute_of(now, s)) for s in experiment.segments}
    found = {s: _pooled(a, pools.get(s, {}).get(s)) for s, a in recorded.items()}
    limited = [s for s in found if s not in experiment.replicated_by]
    counts = {s: ValueCounts.of(found[s]) for s in limited}
    crowded = [s for s in limited if len(found[s].values) > MOST_VALUES]
    strata = experiment.analyses.strata
    if len(strata) > 1:
        pooled = pools.get(experiment.analyses.strata_segment, {})
        parts = [_pooled(recorded[s], pooled.get(s)) for s in strata]
        sizes = [len(part.values) for part in parts]
        if max(sizes) <= MOST_VALUES and math.prod(sizes) <= MOST_STRATA:
            found[experiment.analyses.strata_segment] = crossed(parts)
    return {s: a for s, a in found.items() if s not in crowded}, counts


def told(
    pools: Pools, counts: Sequence[Mapping[str, ValueCounts]], users: int
) -> dict[str, dict[str, Pooled]]:
    """What was pooled, for people: `counts` are those of the round that pooled, `users` all assigned ones."""
    return {
        segment: {name: _told(pool, [part[name] for part in counts], users) for name, pool in pooled.items()}
        for segment, pooled in pools.items()
    }


def _told(pool: Pool, parts: Sequence[ValueCounts], users: int) -> Pooled:
    kept = ValueCounts.of_all(parts).users
    return Pooled(
        pool.name, len(pool.kept), pool.values, pool.more, users - sum(kept.get(v, 0) for v in pool.kept)
    )


def _pooled(attribute: Attribute, pool: Pool | None) -> Attribute:
    if pool is None:
        return attribute
    names = tuple(sorted({*pool.kept, pool.name}))
    position = {name: i for i, name in enumerate(names)}
    rest = position[pool.name]
    codes = np.array([position.get(value, rest) for value in attribute.values], dtype=np.int64)
    return _occurring(Attribute(codes[attribute.codes], names))


def _occurring(attribute: Attribute) -> Attribute:
    """The attribute with only those values that some user has: later users have others."""
    there = np.bincount(attribute.codes, minlength=len(attribute.values)) > 0
    if there.all() or not there.any():
        return attribute
    values = tuple(value for value, occurs in zip(attribute.values, there, strict=True) if occurs)
    return Attribute((np.cumsum(there) - 1)[attribute.codes], values)
