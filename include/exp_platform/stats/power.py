"""Planning: power, users needed and smallest detectable effect of two-sided tests, and days.

A design is a test as planning sees it: it knows what spread its metric has, and so the chance that it rejects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from exp_platform.stats import special
from exp_platform.stats.intervals import normal_critical, t_critical
from exp_platform.stats.quantile import LEVEL
from exp_platform.stats.sequential import half_width

MOST_USERS = 1e15
CERTAIN = 1e100  # a shift so many times the critical value is found always; its square does not overflow

# Per-user variances (control, treatment), in the metric's unit squared, if the absolute effect is as given.
Variances = Callable[[float], tuple[float, float]]


class PerArm(NamedTuple):
    """Users needed in control and in one treatment, before rounding up."""

    control: float
    treatment: float

    @property
    def total(self) -> int:
        """Whole users in both arms."""
        return math.ceil(self.control) + math.ceil(self.treatment)


class Design(Protocol):
    """A two-sided test of treatment minus control, as planning sees it."""

    def __hash__(self) -> int:
        """Sizes are remembered by design."""

    @property
    def variances(self) -> Variances:
        """Of one user; raises ValueError for an effect that the metric cannot have."""

    def power(self, effect: float, n_control: float, n_treatment: float, alpha: float) -> float:
        """The chance that the test of level alpha rejects, either way, at this absolute effect."""


@dataclass(frozen=True)
class WelchDesign:
    """Welch's test. `degrees_of_freedom` are those of the variance of an arm of n users."""

    variances: Variances
    degrees_of_freedom: Callable[[float], float] = lambda n: n - 1

    def power(self, effect: float, n_control: float, n_treatment: float, alpha: float) -> float:
        """Source: noncentral t (Johnson, Kotz and Balakrishnan 1995, ch. 31) with Satterthwaite's degrees of freedom."""
        v0, v1 = (v / n for v, n in zip(self.variances(effect), (n_control, n_treatment), strict=True))
        share = v0 / (v0 + v1)
        df0, df1 = self.degrees_of_freedom(n_control), self.degrees_of_freedom(n_treatment)
        df = 1 / (share**2 / df0 + (1 - share) ** 2 / df1)
        shift = effect / math.sqrt(v0 + v1)
        critical = t_critical(1 - alpha, df)
        return min(1.0, _rejects_above(critical, df, shift) + _rejects_above(critical, df, -shift))


@dataclass(frozen=True)
class ScoreDesign:
    """The score test of two proportions: its error is the pooled one, which the effect moves where arms are unequal."""

    variances: Variances
    baseline: float

    def power(self, effect: float, n_control: float, n_treatment: float, alpha: float) -> float:
        """Source: Fleiss, Levin and Paik 2003, section 4.3 (without correction); both tails."""
        v0, v1 = self.variances(effect)
        pooled = self.baseline + effect * n_treatment / (n_control + n_treatment)
        error = math.sqrt(v0 / n_control + v1 / n_treatment)
        reach = normal_critical(1 - alpha) * math.sqrt(
            pooled * (1 - pooled) * (1 / n_control + 1 / n_treatment)
        )
        return _beyond(effect, error, reach)


@dataclass(frozen=True)
class SequenceDesign:
    """The confidence sequence with mixture parameter `rho`, looked at once: that of earlier looks adds to it."""

    variances: Variances
    rho: float

    def power(self, effect: float, n_control: float, n_treatment: float, alpha: float) -> float:
        """Source: the normal law around the sequence's half width (Waudby-Smith et al. 2021, theorem 2.2)."""
        v0, v1 = self.variances(effect)
        variance, n = v0 / n_control + v1 / n_treatment, n_control + n_treatment
        careful = max(variance, v0 / n_treatment + v1 / n_control)  # as `Arms.careful_variance`
        return _beyond(effect, math.sqrt(variance), half_width(n, n * careful, self.rho, alpha))


def of_means(sd: float, sd_treatment: float | None = None) -> WelchDesign:
    """Welch's test of means a user with standard deviation `sd`, in their unit; ValueError unless positive."""
    other = sd if sd_treatment is None else sd_treatment
    if not (0 < sd < math.inf and 0 < other < math.inf):
        raise ValueError(f"standard deviations must be positive, not {sd} and {other}")
    return WelchDesign(lambda effect: (sd**2, other**2))


def of_proportions(baseline: float) -> WelchDesign:
    """Welch's test of proportions, variances p (1 - p) at baseline and baseline + effect; ValueError outside (0, 1)."""
    return WelchDesign(_of_proportion(baseline))


def of_scores(baseline: float) -> ScoreDesign:
    """The score test of proportions; ValueError outside (0, 1)."""
    return ScoreDesign(_of_proportion(baseline), baseline)


def of_quantile(sd: float, q: float) -> WelchDesign:
    """The test of a q-quantile whose standard error is sd / sqrt(n), in its unit; ValueError for sd or q out of range.

    Its error comes from the ranks of its interval alone, so it has their degrees of freedom (`RankInterval`), by the
    normal law of the binomial.
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, not {q}")
    reach = normal_critical(LEVEL)
    return WelchDesign(of_means(sd).variances, lambda n: max(1.0, reach * math.sqrt(n * q * (1 - q))))


def scaled(variances: Variances, control: float, treatment: float) -> Variances:
    """The same with each arm's variance times a factor, as where CUPED takes a share of it."""

    def of(effect: float) -> tuple[float, float]:
        v0, v1 = variances(effect)
        return v0 * control, v1 * treatment

    return of


def power(effect: float, design: Design, n_control: float, n_treatment: float, alpha: float) -> float:
    """The chance that a two-sided test of level alpha rejects, either way, at this absolute effect.

    Raises ValueError below two users per arm or alpha outside (0, 1).
    """
    _require_users(n_control, n_treatment)
    return design.power(effect, n_control, n_treatment, alpha)


def required_per_arm(
    effect: float, design: Design, *, alpha: float, power: float = 0.8, ratio: float = 1.0
) -> PerArm:
    """Users an arm with which the absolute `effect` is found with this power.

    `ratio` is treatment's size over control's. Raises ValueError for a zero effect, alpha, power or ratio
    out of range, power not above alpha, or more than 1e15 users.
    """
    _require_planned(alpha, power, ratio)
    if effect == 0 or not math.isfinite(effect):
        raise ValueError(f"the effect to detect must be finite and not zero: {effect}")

    def short(n: float) -> bool:
        return design.power(effect, n, max(2.0, n * ratio), alpha) < power

    fewest = 2 * max(1.0, 1 / ratio)
    most = fewest
    while short(most):
        most *= 2
        if most > MOST_USERS:
            raise ValueError(f"an effect of {effect} needs more than {MOST_USERS:.0e} users")
    control = fewest if most == fewest else _boundary(short, most / 2, most)[1]
    return PerArm(control, control * ratio)


def mde(
    design: Design,
    n_control: float,
    n_treatment: float,
    *,
    alpha: float,
    power: float = 0.8,
    sign: int = 1,
) -> float:
    """The smallest absolute effect found with this power, in the metric's unit.

    `sign` -1 is for a decrease, given as a negative number. Raises ValueError below two users per arm, alpha
    or power out of range, or where no effect that the metric allows is found.
    """
    _require_planned(alpha, power)
    _require_users(n_control, n_treatment)
    if sign not in (1, -1):
        raise ValueError(f"sign is 1 or -1, not {sign}")
    variances = design.variances

    def short(effect: float) -> bool:
        return design.power(sign * effect, n_control, n_treatment, alpha) < power

    v0, v1 = variances(0.0)
    low, high = 0.0, math.sqrt(v0 / n_control + v1 / n_treatment)
    while _possible(variances, sign * high) and short(high):
        low, high = high, high * 2
    if not _possible(variances, sign * high):
        high, _ = _boundary(lambda effect: _possible(variances, sign * effect), low, high)
        if short(high):
            raise ValueError(
                f"{n_control:g} and {n_treatment:g} users find no effect that the metric can have"
            )
    return sign * _boundary(short, low, high)[1]


def days_needed(users: float, daily_users: float) -> int:
    """Whole days until `users` more arrive at `daily_users` a day; ValueError unless that is positive."""
    if not (daily_users > 0 and math.isfinite(users)):
        raise ValueError(f"users must arrive: {daily_users} a day for {users}")
    return max(0, math.ceil(users / daily_users))


def _of_proportion(baseline: float) -> Variances:
    if not 0 < baseline < 1:
        raise ValueError(f"the baseline of a proportion must lie between 0 and 1, not {baseline}")

    def variances(effect: float) -> tuple[float, float]:
        moved = baseline + effect
        if not 0 <= moved <= 1:
            raise ValueError(f"an effect of {effect} takes the proportion {baseline} out of [0, 1]")
        return baseline * (1 - baseline), moved * (1 - moved)

    return variances


def _beyond(effect: float, error: float, reach: float) -> float:
    """The chance that a normal estimate of this effect, with this error, lies further than `reach` from 0."""
    return min(1.0, float(special.ndtr((effect - reach) / error) + special.ndtr((-effect - reach) / error)))


def _possible(variances: Variances, effect: float) -> bool:
    try:
        variances(effect)
    except ValueError:
        return False
    return True


def _boundary(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """The neighbouring floats between which a condition, true at low and false at high, changes."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _rejects_above(critical: float, df: float, shift: float) -> float:
    """P(T > critical) of the noncentral t, as P(-T < -critical): small tails keep their digits."""
    p = float(special.nctdtr(df, -shift, -critical))
    if math.isfinite(p):
        return p
    if shift < 0:  # scipy gives NaN for tails below 1e-13 ...
        return 0.0
    # ... and for a shift that dwarfs the normal's noise: what is left varies by the chi-square alone.
    return float(special.chdtr(df, df * min(shift / critical, CERTAIN) ** 2))


def _require_users(n_control: float, n_treatment: float) -> None:
    if not (2 <= n_control < math.inf and 2 <= n_treatment < math.inf):
        raise ValueError(f"a test needs two users in every arm, not {n_control} and {n_treatment}")


def _require_planned(alpha: float, power: float, ratio: float = 1.0) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"need 0 < alpha < power < 1, not {alpha} and {power}")
    if not 0 < ratio < math.inf:
        raise ValueError(f"the ratio of the arms must be positive, not {ratio}")
