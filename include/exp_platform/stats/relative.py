"""The relative effect, the difference of means over the size of control's mean, and its interval.

Relative to |control|, so that its sign is that of the difference: from -10 to -8 is +20 %. Where control's mean is positive it
is treatment / control - 1, where it is negative minus that.
"""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from typing import NamedTuple

from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.rounding import RESOLUTION

LARGEST = math.log(sys.float_info.max)


class Kind(StrEnum):
    """The shape of the set of relative effects that the data do not reject."""

    BOUNDED = "BOUNDED"  # an interval
    COMPLEMENT = "COMPLEMENT"  # everything but a gap: control's mean may be zero, this gap is still rejected
    UNBOUNDED = "UNBOUNDED"  # control's mean may be zero, and there is no gap, or it reaches infinity
    UNDEFINED = "UNDEFINED"  # nothing is relative to a control of zero, and means of two signs have no log
    APPROXIMATE = "APPROXIMATE"  # an interval by the delta or the log method: need not agree with the test


class RelativeInterval(NamedTuple):
    """A relative effect as a fraction of |control's mean|, and the set of those that the data do not reject."""

    point: float | None  # None where control's mean is zero
    low: float | None  # None unless BOUNDED or APPROXIMATE
    high: float | None
    kind: Kind
    gap: tuple[float, float] | None = None  # what a COMPLEMENT leaves out
    excludes_zero: bool = False  # Fieller: exactly where the test rejects at this critical value

    def negated(self) -> RelativeInterval:
        """The set of minus these effects."""
        low, high = self.low, self.high
        return RelativeInterval(
            None if self.point is None else -self.point,
            None if high is None else -high,
            None if low is None else -low,
            self.kind,
            None if self.gap is None else (-self.gap[1], -self.gap[0]),
            self.excludes_zero,
        )


def fieller(control: Arm, treatment: Arm, critical: float, covariance: float = 0.0) -> RelativeInterval:
    """The relative effects r at which treatment - control - r |control| is within `critical` standard errors of 0.

    `critical` is a t or normal critical value, `covariance` that of the two means. Raises ValueError unless
    critical is positive.
    Source: Fieller 1954; von Luxburg and Franz 2009. The quadratic a r^2 - 2 b r + c <= 0 is solved in r
    itself, where c > 0 is the test of the difference, so set and test agree to the last bit.
    """
    _require_critical(critical)
    # With both means' signs exchanged the effect is relative to the same, its sign the other
    if control.mean < 0:
        return fieller(_mirrored(control), _mirrored(treatment), critical, covariance).negated()
    k2 = critical**2
    v0, v1 = control.variance_of_mean, treatment.variance_of_mean
    delta = treatment.mean - control.mean
    point = None if control.mean_is_zero else delta / control.mean
    if point is None and v0 == 0:
        return RelativeInterval(None, None, None, Kind.UNDEFINED)
    a = control.mean**2 - k2 * v0
    b = delta * control.mean + k2 * (v0 - covariance)
    c = delta**2 - k2 * Arms(control, treatment, covariance).variance_of_difference
    common = 2 * control.mean * treatment.mean * covariance - k2 * covariance**2
    discriminant = k2 * (a * v1 + treatment.mean**2 * v0 - common)
    at_infinity = abs(a) <= RESOLUTION * control.mean**2  # where one bound is, as far as rounding can tell
    if discriminant < 0 or at_infinity:
        return RelativeInterval(point, None, None, Kind.UNBOUNDED, excludes_zero=c > 0)
    q = b + math.copysign(math.sqrt(discriminant), b)
    low, high = sorted((q / a, c / q if q != 0 else 0.0))
    if a > 0:
        return RelativeInterval(point, low, high, Kind.BOUNDED, excludes_zero=c > 0)
    return RelativeInterval(point, None, None, Kind.COMPLEMENT, gap=(low, high), excludes_zero=c > 0)


def delta(control: Arm, treatment: Arm, critical: float, covariance: float = 0.0) -> RelativeInterval:
    """The relative effect with its interval by the delta method: approximate, may disagree with the test.

    UNDEFINED where control's mean is zero. Source: Deng, Knoblich and Lu 2018 (arXiv 1803.06336): the variance
    is (v1 + (m1 / m0)^2 v0 - 2 (m1 / m0) covariance) / m0^2, v each arm's own variance of its mean m.
    """
    _require_critical(critical)
    if control.mean_is_zero:
        return RelativeInterval(None, None, None, Kind.UNDEFINED)
    point = (treatment.mean - control.mean) / abs(control.mean)
    half = critical * delta_standard_error(control, treatment, covariance)
    return _approximate(point, point - half, point + half)


def delta_standard_error(control: Arm, treatment: Arm, covariance: float = 0.0) -> float:
    """Standard error of the relative effect by the delta method; ValueError where control's mean is zero."""
    if control.mean_is_zero:
        raise ValueError("control's mean is zero, so no effect is relative to it")
    ratio = treatment.mean / control.mean
    variance = treatment.variance_of_mean + ratio * (ratio * control.variance_of_mean - 2 * covariance)
    return math.sqrt(max(0.0, variance)) / abs(control.mean)


def log_ratio(control: Arm, treatment: Arm, critical: float, covariance: float = 0.0) -> RelativeInterval:
    """The relative effect with its interval by the delta method on the log of the ratio: approximate.

    UNDEFINED unless both means are of one sign; UNBOUNDED where the upper bound is beyond any number. Source: the
    delta method: the log of m1 / m0 has variance v0 / m0^2 + v1 / m1^2 - 2 covariance / (m0 m1).
    """
    _require_critical(critical)
    if control.mean_is_zero:
        return RelativeInterval(None, None, None, Kind.UNDEFINED)
    if control.mean < 0:
        return log_ratio(_mirrored(control), _mirrored(treatment), critical, covariance).negated()
    point = (treatment.mean - control.mean) / control.mean
    ratio = treatment.mean / control.mean
    if not ratio > 0:
        return RelativeInterval(point, None, None, Kind.UNDEFINED)
    spread = critical * delta_standard_error(control, treatment, covariance) / ratio
    if not math.log(ratio) + spread < LARGEST:
        return RelativeInterval(point, None, None, Kind.UNBOUNDED)
    return _approximate(point, ratio * math.exp(-spread) - 1, math.exp(math.log(ratio) + spread) - 1)


def logged(arms: Arms) -> Arms:
    """Both arms on the log scale, where the effect is the log of their means' ratio, by the delta method.

    Raises ValueError unless both means are positive.
    """
    control, treatment = _logged(arms.control), _logged(arms.treatment)
    return Arms(control, treatment, arms.covariance / (arms.control.mean * arms.treatment.mean), arms.df)


def _logged(arm: Arm) -> Arm:
    if not arm.mean > 0:
        raise ValueError("only a positive mean has a logarithm")
    return Arm(arm.n, math.log(arm.mean), arm.variance_of_mean / arm.mean**2, arm.degrees_of_freedom)


def _mirrored(arm: Arm) -> Arm:
    return arm._replace(mean=-arm.mean)


def _approximate(point: float, low: float, high: float) -> RelativeInterval:
    if not (math.isfinite(low) and math.isfinite(high)):
        return RelativeInterval(point, None, None, Kind.UNBOUNDED)
    return RelativeInterval(point, low, high, Kind.APPROXIMATE, excludes_zero=not low <= 0 <= high)


def _require_critical(critical: float) -> None:
    if not 0 < critical < math.inf:
        raise ValueError(f"critical must be positive and finite, not {critical}")
