"""Periods of a ramp: arms are compared within each, where alone all users were assigned with the same chances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from exp_platform.aggregates import Aggregates, Block
from exp_platform.analyses.estimators import Cells, estimator_of
from exp_platform.analyses.sizes import MIN_USERS_ARM
from exp_platform.config.allocation import in_period
from exp_platform.config.metrics import Metric
from exp_platform.stats.adjustment import adjust
from exp_platform.stats.arms import Arm, Arms, arm_mean
from exp_platform.stats.moments import Array, Moments
from exp_platform.stats.strata import standardised


@dataclass(frozen=True)
class Periods:
    """One population's blocks by variant, then by period: of the variants and the periods that have enough users.

    Users of other periods are left out. Merging them into a neighbour would bring back what periods are for: the arms
    would hold its users in other proportions than the neighbour's.
    """

    starts: tuple[str, ...]
    blocks: dict[str, list[Block]]
    left_out: tuple[str, ...]

    @property
    def cells(self) -> Cells:
        """Moments by arm, then by period."""
        return [[block.moments for block in blocks] for blocks in self.blocks.values()]

    @property
    def users(self) -> int:
        """Users of all arms."""
        return sum(cell.n for arm in self.cells for cell in arm)

    @property
    def weights(self) -> Array:
        """Each period's share of the users of all arms, which do not depend on how it was divided."""
        return np.array([sum(arm[i].n for arm in self.cells) for i in range(len(self.starts))]) / self.users

    @property
    def note(self) -> str | None:
        """What a row says of users who are left out."""
        if not self.left_out:
            return None
        days = ", ".join(self.left_out)
        return f"without the users of periods in which an arm has fewer than {MIN_USERS_ARM}: those from {days} on"

    def whole(self, of: Block) -> Block:
        """The users of a variant in all these periods as one block, like `of`, with nothing that only all users have.

        Daily blocks hold the standardised Moments: their days' means are compared as they are.
        """
        blocks = self.blocks[of.variant_id]
        if not self.starts:
            moments = Moments.empty(len(of.columns))
        elif of.kind == "daily":
            moments = standardised(self.cells)[list(self.blocks).index(of.variant_id)]
        else:
            moments = Moments.merge_all(block.moments for block in blocks)
        return replace(
            of,
            moments=moments,
            successes=None if of.successes is None else sum(block.successes or 0 for block in blocks),
            median=None,
            p95=None,
            capped_lower=None,
            capped_upper=None,
        )

    def arms(self, metric: Metric, control_id: str, treatment_id: str) -> Arms:
        """Both arms' means standardised over the periods. Raises ValueError where a ratio divides by zero.

        Their variance has both parts of post-stratification, that within periods and that of the periods' shares, so that
        with one allocation throughout it is nearly Welch's, whose users came on all days too.
        """
        cells = estimator_of(metric).linearise(self.cells, self.cells)
        names = list(self.blocks)
        control, treatment = names.index(control_id), names.index(treatment_id)
        try:
            found = adjust(cells).pair(control, treatment)
        except ValueError:  # nothing varies: the test of the arms will say so
            means = [arm_mean(Moments.merge_all(cells[i])) for i in (control, treatment)]
            return Arms(means[0], means[1])
        return found._replace(
            control=self._of_users(found.control, cells[control]),
            treatment=self._of_users(found.treatment, cells[treatment]),
        )

    def _of_users(self, arm: Arm, cells: Sequence[Moments]) -> Arm:
        """The arm with the standard deviation of a user, weighed as its mean."""
        within = [float(cell.covariance()[0, 0]) for cell in cells]
        between = [float(cell.mean[0] - arm.mean) ** 2 for cell in cells]
        return arm._replace(sd_of_users=math.sqrt(float(self.weights @ np.add(within, between))))


def periods_of(aggregates: Aggregates, metric_id: str, segment: str, value: str, kind: str) -> Periods | None:
    """The periods of one population; None without a ramp, and for exposure cohorts, which have one allocation each."""
    if not aggregates.periods or kind == "cohort":
        return None
    blocks: dict[str, dict[str, Block]] = {}
    for variant in aggregates.assigned:
        whole = aggregates.block(metric_id, variant, segment, value, kind)
        if whole is not None and whole.moments.n >= MIN_USERS_ARM:
            found = {
                start: aggregates.block(metric_id, variant, *in_period(start, segment, value), kind)
                for start in aggregates.periods
            }
            blocks[variant] = {start: block for start, block in found.items() if block is not None}
    if not blocks:
        return None
    users = {start: [_users(arm.get(start)) for arm in blocks.values()] for start in aggregates.periods}
    counted = tuple(start for start, n in users.items() if min(n) >= MIN_USERS_ARM)
    left_out = tuple(start for start, n in users.items() if start not in counted and any(n))
    return Periods(
        counted, {variant: [arm[start] for start in counted] for variant, arm in blocks.items()}, left_out
    )


def _users(block: Block | None) -> int:
    return 0 if block is None else block.moments.n
