"""The normal posterior of an effect: what an estimate and a stated prior say together."""

from __future__ import annotations

import math
from typing import NamedTuple

from exp_platform.stats import special
from exp_platform.stats.intervals import Interval, normal_critical


class Posterior(NamedTuple):
    """Mean and standard deviation of a normal belief about an effect, in the effect's unit."""

    mean: float
    sd: float

    @property
    def chance_above_zero(self) -> float:
        """Probability that the effect is above 0."""
        return float(special.ndtr(self.mean / self.sd))

    @property
    def expected_shortfall(self) -> float:
        """Expected size of a negative effect, 0 where it is not negative: E max(0, -effect), in its unit.

        Source: the unit normal loss function (Raiffa and Schlaifer 1961): sd (phi(z) - z Phi(-z)), z = mean / sd.
        """
        z = self.mean / self.sd
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        if z > 0:  # the two terms cancel: with the density taken out of both, what is left keeps its digits
            return (
                self.sd * density * (1 - z * math.sqrt(math.pi / 2) * float(special.erfcx(z / math.sqrt(2))))
            )
        return self.sd * (density - z * float(special.ndtr(-z)))

    def interval(self, level: float) -> Interval:
        """The central interval that holds the effect with probability `level`; ValueError outside (0, 1)."""
        half = normal_critical(level) * self.sd
        return Interval(self.mean - half, self.mean + half)

    def flipped(self) -> Posterior:
        """The posterior of minus the effect."""
        return Posterior(-self.mean, self.sd)


def posterior(estimate: float, standard_error: float, prior_sd: float) -> Posterior:
    """The posterior of an effect that is normal around 0 with `prior_sd` before, all in the effect's unit.

    Raises ValueError unless both spreads are positive and finite. Source: two normals (Gelman et al. 2013, section 2.5):
    precisions add up, and the mean is weighted by them.
    """
    if not (0 < standard_error < math.inf and 0 < prior_sd < math.inf):
        raise ValueError(f"spreads must be positive and finite, not {standard_error} and {prior_sd}")
    weight = 1 / (1 + (standard_error / prior_sd) ** 2)  # of the estimate
    return Posterior(weight * estimate, math.sqrt(weight) * standard_error)
