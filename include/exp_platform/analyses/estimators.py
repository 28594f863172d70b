"""How the metrics of each kind are estimated, tested and planned: the one place of the analyses that tells kinds apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from exp_platform.aggregates import Block
from exp_platform.analyses.caution import RATIO_REMEDY, WINSORISE, caution_of, jumping
from exp_platform.analyses.sizes import MIN_USERS_ARM, START_BEYOND, START_NONZERO, START_OUTCOMES
from exp_platform.config.kinds import VALUED
from exp_platform.config.metrics import Metric
from exp_platform.stats.arms import Arm, Arms, arm_mean, arm_ratio, linearised
from exp_platform.stats.exact import Exact, proportions
from exp_platform.stats.moments import Moments
from exp_platform.stats.power import (
    Design,
    WelchDesign,
    of_means,
    of_proportions,
    of_quantile,
    of_scores,
    scaled,
)
from exp_platform.stats.proportions import Count, Score
from exp_platform.stats.quantile import arm_quantile, fewest_users, rank_interval
from exp_platform.stats.skewness import Spread, of_ratio
from exp_platform.stats.strata import standardised
from exp_platform.stats.welch import Difference, difference, mean_interval

Test = Difference | Score | Exact
Cells = list[list[Moments]]  # by arm, then by period or stratum


@dataclass(frozen=True)
class Mean:
    """Of kinds that are compared by the mean of users' numbers, with Welch's test."""

    metric: Metric

    tail_remedy: ClassVar[str] = WINSORISE

    @property
    def deviation_of(self) -> str:
        """What the standard deviation that planning asks for is one of."""
        return "of the capped values" if self.metric.winsorise else "of a user"

    @property
    def fewest(self) -> int:
        """The fewest users of an arm that a comparison needs."""
        return MIN_USERS_ARM

    def too_few(self, n_control: int, n_treatment: int) -> str | None:
        """Why two arms that are large enough for other kinds are too small for this one, or None."""
        return None

    def has_started(self, block: Block) -> bool:
        """Whether always-valid evidence has begun in an arm that has enough users for it."""
        return (block.successes or 0) >= START_NONZERO

    def arm(self, block: Block) -> Arm:
        """What is compared of one arm. Raises ValueError where it cannot be estimated."""
        return arm_mean(block.moments)

    def linearise(self, cells: Cells, periods: Cells) -> Cells:
        """Cells with a value in the first column whose mean is what is compared, then the covariates.

        `periods` are the arms' Moments that are standardised, one each where there is no ramp. Raises ValueError as `arm`.
        """
        return cells

    def test(self, blocks: Sequence[Block], arms: Arms, *, adjusted: bool) -> Test:
        """The test of `treatment - control`; `blocks` are control's and treatment's, `arms` what is compared of them.

        Raises ValueError where nothing varies.
        """
        return difference(*arms)

    def own_interval(
        self, block: Block, arm: Arm, test: Test, level: float
    ) -> tuple[float | None, float | None]:
        """The interval of one arm's own number, as the metric is, never adjusted."""
        return mean_interval(arm, level)

    def spread(self, block: Block) -> Spread:
        """What is known of how skewed an arm's values are."""
        return Spread(
            block.moments.n, float(block.moments.mean[0]), block.moments.variance(0), block.successes or 0
        )

    def caution(
        self, control: Block, treatment: Block, periods: Sequence[tuple[float, Block, Block]] = ()
    ) -> str | None:
        """Why a row's numbers may be off, or None.

        Under a ramp `periods` are weights with both arms' blocks: means are as skewed as those make them.
        """
        if control.successes is None or treatment.successes is None:
            return None
        return caution_of(
            self.spread(control),
            self.spread(treatment),
            proportion=self.metric.traits.share,
            strata=[(weight, self.spread(c), self.spread(t)) for weight, c, t in periods],
            remedy=self.tail_remedy,
        )

    def design(self, mean: float | None, sd: float | None, reduction: float | None) -> Design | None:
        """The test as planning sees it; None where a number that it needs is missing.

        `reduction` is what the estimate takes off the variance, None where it adjusts nothing. Raises ValueError for numbers
        that the metric cannot have.
        """
        return None if sd is None else of_means(sd * math.sqrt(1 - (reduction or 0.0)))


class Share(Mean):
    """Of kinds whose users have 0 or 1: by Welch's test of shares, or as counts."""

    def has_started(self, block: Block) -> bool:
        """Whether an arm has enough successes and failures."""
        count = _count(block)
        return min(count.successes, count.failures) >= START_OUTCOMES

    def test(self, blocks: Sequence[Block], arms: Arms, *, adjusted: bool) -> Test:
        """The score test of the counts where the metric asks for it, else Welch's.

        Adjusted arms are no counts, so they are tested by Welch. Nobody in one arm and everybody in the other has no variance
        for Welch, and nothing to adjust, but is the clearest difference that counts can show: they are tested as counts.
        """
        control, treatment = (_count(block) for block in blocks)
        opposite = {(c.successes == 0, c.failures == 0) for c in (control, treatment)} == {
            (True, False),
            (False, True),
        }
        if opposite or (self.metric.test == "score" and not adjusted):
            return proportions(control, treatment)
        return difference(*arms)

    def own_interval(
        self, block: Block, arm: Arm, test: Test, level: float
    ) -> tuple[float | None, float | None]:
        """The share's interval that belongs to the test."""
        if isinstance(test, Difference):
            return mean_interval(arm, level)
        return test.rate_interval(_count(block), level)

    def design(self, mean: float | None, sd: float | None, reduction: float | None) -> Design | None:
        """A share has the spread that follows from it; adjusted shares are planned, as they are tested, by Welch."""
        if mean is None:
            return None
        if self.metric.test == "score" and reduction is None:
            return of_scores(mean)
        left = 1 - (reduction or 0.0)
        return WelchDesign(scaled(of_proportions(mean).variances, left, left))


class Ratio(Mean):
    """Of a ratio of means, by the delta method; it is judged as the mean of its denominator's units."""

    tail_remedy = RATIO_REMEDY

    @property
    def deviation_of(self) -> str:
        """What the standard deviation that planning asks for is one of."""
        return "of its linearised value"

    def arm(self, block: Block) -> Arm:
        """The ratio of means. Raises ValueError where it divides by zero."""
        return arm_ratio(block.moments)

    def linearise(self, cells: Cells, periods: Cells) -> Cells:
        """Linearised at the ratio of an arm's standardised means, so that its standardised mean is that ratio."""
        return [
            [linearised(cell, of=whole) for cell in arm]
            for arm, whole in zip(cells, standardised(periods), strict=True)
        ]

    def spread(self, block: Block) -> Spread:
        """That of the denominator's units, which one that is summed does not have."""
        denominator = self.metric.denominator
        counted = denominator is not None and denominator.agg not in VALUED
        return of_ratio(block.moments, block.successes or 0, counted=counted)


class Quantile(Mean):
    """Of a quantile of users' numbers, by ranks."""

    @property
    def q(self) -> float:
        """Which quantile. Raises ValueError where the metric does not say."""
        if self.metric.q is None:
            raise ValueError(f"{self.metric.id} does not say which quantile it is")
        return self.metric.q

    @property
    def deviation_of(self) -> str:
        """What the standard deviation that planning asks for is one of."""
        return "its standard error times the root of n"

    @property
    def fewest(self) -> int:
        """As many as a rank interval needs."""
        return max(MIN_USERS_ARM, fewest_users(self.q))

    def too_few(self, n_control: int, n_treatment: int) -> str | None:
        """Why an arm has no rank interval, or None where both have one."""
        if rank_interval(min(n_control, n_treatment), self.q) is not None:
            return None
        return (
            f"{n_control} users in control and {n_treatment} in treatment: an interval of the {self.q:g} quantile "
            f"needs {fewest_users(self.q)} an arm"
        )

    def has_started(self, block: Block) -> bool:
        """Whether an arm has enough users on each side of the quantile."""
        return block.moments.n * min(self.q, 1 - self.q) >= START_BEYOND

    def arm(self, block: Block) -> Arm:
        """The quantile. Raises ValueError where an arm has too few users, or it lies within a tie."""
        if block.quantile is None or block.quantile_error is None:
            raise ValueError(f"the aggregates hold no {self.q:g} quantile: run again without skipping them")
        return arm_quantile(block.moments.n, self.q, block.quantile, block.quantile_error)

    def own_interval(
        self, block: Block, arm: Arm, test: Test, level: float
    ) -> tuple[float | None, float | None]:
        """Its rank interval."""
        return block.quantile_low, block.quantile_high

    def caution(
        self, control: Block, treatment: Block, periods: Sequence[tuple[float, Block, Block]] = ()
    ) -> str | None:
        """Only of jumps beside the quantile: ranks know no tail."""
        return jumping(self.q, control, treatment)

    def design(self, mean: float | None, sd: float | None, reduction: float | None) -> Design | None:
        """By the standard error that a user contributes; never adjusted."""
        return None if sd is None else of_quantile(sd, self.q)


ESTIMATORS: dict[str, type[Mean]] = {
    "proportion": Share,
    "retention": Share,
    "count": Mean,
    "mean": Mean,
    "count_distinct": Mean,
    "first": Mean,
    "last": Mean,
    "max": Mean,
    "min": Mean,
    "ratio": Ratio,
    "quantile": Quantile,
}


def estimator_of(metric: Metric) -> Mean:
    """How this metric is estimated."""
    return ESTIMATORS[metric.kind](metric)


def _count(block: Block) -> Count:
    return Count(block.successes or 0, block.moments.n)
