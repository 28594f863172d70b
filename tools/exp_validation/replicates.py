"""Many experiments in one: the aggregates of a run taken apart into those of its replicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.config.sources import REPLICATE


def replicates_of(aggregates: Aggregates) -> Iterator[Aggregates]:
    """One Aggregates a value of the segment `replicate`, as if each were an experiment of its own.

    Users assigned are those of the largest block of a variant: no crossovers, and a metric that counts everybody.
    Without a daily series and, as segments have none, quantiles.
    """
    blocks: dict[str, list[Block]] = defaultdict(list)
    for block in aggregates.blocks:
        if block.segment == REPLICATE:
            blocks[block.segment_value].append(replace(block, segment=ALL, segment_value=ALL))
    for _, own in sorted(blocks.items()):
        assigned = dict.fromkeys(aggregates.assigned, 0)
        for block in own:
            assigned[block.variant_id] = max(assigned[block.variant_id], block.moments.n)
        nobody = dict.fromkeys(assigned, 0)
        yield Aggregates(aggregates.as_of_date, assigned, nobody, tuple(own), caps=aggregates.caps)
