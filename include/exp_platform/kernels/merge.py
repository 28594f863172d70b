"""The merge of disjoint buckets: Moments add up, quantiles come from the pooled distributions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from exp_platform.aggregates import ALL, Aggregates, Arrivals, Block, DailyRow, Kind
from exp_platform.config.experiment import Experiment
from exp_platform.kernels.aggregate import NO_CAPS, BlockKey, Bounds, BucketAggregates, TooLarge
from exp_platform.kernels.order_statistics import (
    Bracket,
    Bracketed,
    bracket,
    quantile_numbers,
    wanted_ranks,
)
from exp_platform.kernels.pools import Pools, told
from exp_platform.kernels.quantiles import Caps, Distribution
from exp_platform.kernels.row_account import together
from exp_platform.stats.moments import Moments
from exp_platform.stats.rounding import LARGEST


def bounds_of(
    parts: Sequence[BucketAggregates], experiment: Experiment, pools: Pools | None = None
) -> Bounds:
    """What the second round of one as_of date must know: exact pooled caps, brackets around quantiles, and `pools`."""
    caps = {
        metric.id: Distribution.pooled(
            part.distributions[metric.id, variant.id] for part in parts for variant in experiment.variants
        ).caps(metric.winsorise)
        for metric in experiment.metrics
        if metric.winsorise is not None
    }
    keys = dict.fromkeys(key for part in parts for key in part.marks)
    found = {key: _bracket(parts, experiment, key) for key in keys}
    return Bounds(caps, {key: inside for key, inside in found.items() if inside is not None}, pools or {})


def _bracket(parts: Sequence[BucketAggregates], experiment: Experiment, key: BlockKey) -> Bracket | None:
    marks = [part.marks[key] for part in parts if key in part.marks]
    q = experiment.metric(key[0]).q
    wanted = None if q is None else wanted_ranks(sum(m.n for m in marks), q)
    return None if wanted is None else bracket(marks, *wanted)


def merge_aggregates(
    parts: Sequence[BucketAggregates], experiment: Experiment, bounds: Bounds | None = None
) -> Aggregates:
    """Merge one as_of date's disjoint buckets, in the order given: the same buckets give the same bits.

    `bounds` are those of the second round. Raises ValueError without parts, or where their dates differ.
    """
    dates = {part.aggregates.as_of_date for part in parts}
    if len(dates) != 1:
        raise ValueError(f"parts of one as_of date are needed, not of {sorted(dates)}")
    too_large = _too_large(parts)
    of_bounds = dict(bounds.caps) if bounds else {}
    caps = {metric: both for metric, both in of_bounds.items() if ("total", metric) not in too_large}
    quantiles = _Quantiles(parts, experiment, caps)
    assigned = _sum(part.aggregates.assigned for part in parts)
    return Aggregates(
        as_of_date=dates.pop(),
        assigned=assigned,
        crossovers=_sum(part.aggregates.crossovers for part in parts),
        blocks=tuple(
            quantiles.added_to(block)
            for block in _blocks(parts)
            if (block.kind, block.metric_id) not in too_large
        ),
        daily=_daily(parts),
        caps=caps,
        pooled=told(
            {} if bounds is None else bounds.pools, [part.values for part in parts], sum(assigned.values())
        ),
        too_large=_told(too_large),
        periods=_arrivals([part.aggregates.periods for part in parts]),
        triggered=_arrivals([part.aggregates.triggered for part in parts]),
        rows={table: together(p.aggregates.rows[table] for p in parts) for table in parts[0].aggregates.rows},
    )


def _too_large(parts: Sequence[BucketAggregates]) -> TooLarge:
    """The largest value of all buckets; it is NaN or infinite where a sum has overflowed."""
    largest: TooLarge = {}
    for part in parts:
        for key, value in part.too_large.items():
            largest[key] = float(np.maximum(value, largest.get(key, 0.0)))
    return largest


def _told(too_large: TooLarge) -> dict[Kind, dict[str, str]]:
    """What stands in the place of a metric's blocks."""
    told: dict[Kind, dict[str, str]] = {}
    for (kind, metric), value in sorted(too_large.items()):
        told.setdefault(kind, {})[metric] = f"{value:.6g}" if math.isfinite(value) else "beyond 1.8e308"
    return told


def _arrivals(parts: Sequence[dict[str, Arrivals]]) -> dict[str, Arrivals]:
    """Users of all buckets by period."""
    return {
        start: Arrivals(
            _sum(part[start].assigned for part in parts), _sum(part[start].crossovers for part in parts)
        )
        for start in parts[0]
    }


class _Quantiles:
    """Median, 95th percentile and capped shares of each metric and variant; of quantile metrics their quantile."""

    def __init__(
        self, parts: Sequence[BucketAggregates], experiment: Experiment, caps: dict[str, Caps]
    ) -> None:
        keys = parts[0].distributions
        self._pooled = {key: Distribution.pooled(part.distributions[key] for part in parts) for key in keys}
        self._winsorised = {
            m.id: caps.get(m.id, NO_CAPS) for m in experiment.metrics if m.winsorise is not None
        }
        self._parts = parts
        self._q = {m.id: m.q for m in experiment.metrics if m.q is not None}

    def added_to(self, block: Block) -> Block:
        if block.metric_id in self._q:
            return self._with_quantile(block, self._q[block.metric_id])
        values = self._pooled.get((block.metric_id, block.variant_id))
        if values is None or block.kind != "total" or block.segment != ALL:
            return block
        described = replace(block, median=values.quantile(0.5), p95=values.quantile(0.95))
        caps = self._winsorised.get(block.metric_id)
        if caps is None:
            return described
        below, above = values.shares_beyond(caps)
        return replace(described, capped_share=below + above, capped_lower=below, capped_upper=above)

    def _with_quantile(self, block: Block, q: float) -> Block:
        key = (block.metric_id, block.variant_id, block.segment, block.segment_value)
        around = [part.bracketed[key] for part in self._parts if key in part.bracketed]
        if not around:  # too few users for a rank interval
            return block
        numbers = quantile_numbers(Bracketed.pooled(around), block.moments.n, q)
        return block if numbers is None else replace(block, **numbers._asdict())


def _blocks(parts: Sequence[BucketAggregates]) -> Iterable[Block]:
    """Blocks merged by key, sorted by it: the order must not depend on which bucket has which segment value."""
    found: dict[tuple[str, str, str, str, str], list[Block]] = {}
    for part in parts:
        for block in part.aggregates.blocks:
            key = (block.kind, block.metric_id, block.variant_id, block.segment, block.segment_value)
            found.setdefault(key, []).append(block)
    for _, blocks in sorted(found.items()):
        successes = [b.successes for b in blocks if b.successes is not None]
        yield replace(
            blocks[0],
            moments=Moments.merge_all(b.moments for b in blocks),
            successes=sum(successes) if successes else None,
        )


def _daily(parts: Sequence[BucketAggregates]) -> tuple[DailyRow, ...]:
    total: dict[tuple[str, str, str], DailyRow] = {}
    for part in parts:
        for row in part.aggregates.daily:
            key = (row.metric_id, row.variant_id, row.local_date.isoformat())
            before = total.get(key)
            total[key] = row if before is None else _added(before, row)
    sums = [(r.metric_id, s) for r in total.values() for s in (r.value_sum, r.denominator_sum or 0.0)]
    too_large = {metric for metric, value in sums if not abs(value) <= LARGEST}
    return tuple(row for row in total.values() if row.metric_id not in too_large)


def _added(a: DailyRow, b: DailyRow) -> DailyRow:
    both = a.denominator_sum is not None and b.denominator_sum is not None
    return replace(
        a,
        new_users=a.new_users + b.new_users,
        active_users=a.active_users + b.active_users,
        value_sum=a.value_sum + b.value_sum,
        denominator_sum=(a.denominator_sum or 0.0) + (b.denominator_sum or 0.0) if both else None,
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for variant, users in count.items():
            total[variant] = total.get(variant, 0) + users
    return total
