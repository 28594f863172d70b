"""Two proportions: the score test, Miettinen and Nurminen's interval of the difference and Koopman's of the ratio.

All three rest on one statistic, with the variance at the rates that are likeliest where the effect is as supposed.
At no effect these are the pooled rate, so p-value and both intervals say the same of no effect.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from exp_platform.stats.intervals import Interval, normal_critical, normal_two_sided
from exp_platform.stats.roots import positive_root

NEWTON_STEPS = 60
LOG_MOST = 200.0  # of a ratio: more than any that counts allow, and its square is still a number


class Count(NamedTuple):
    """One arm: users with a success, of n users."""

    successes: int
    n: int

    @property
    def failures(self) -> int:
        """Users without one."""
        return self.n - self.successes

    @property
    def rate(self) -> float:
        """Share of successes."""
        return self.successes / self.n

    @property
    def flipped(self) -> Count:
        """The same with successes and failures exchanged."""
        return Count(self.failures, self.n)


class Score(NamedTuple):
    """Treatment's rate minus control's, its standard error if there is no effect (pooled), and the two-sided z test."""

    control: Count
    treatment: Count
    estimate: float
    standard_error: float
    statistic: float
    p_value: float
    log10_p: float
    degrees_of_freedom: None = None
    test: Literal["score"] = "score"

    def interval(self, level: float) -> Interval:
        """The effects that the score test does not reject at 1 - level: excludes 0 exactly where p < 1 - level.

        Source: Miettinen and Nurminen 1985, without their factor N / (N - 1) (Mee 1984), whose variance would not be
        that of the pooled z.
        """
        z = normal_critical(level)
        return Interval(
            -_most_difference(self.treatment, self.control, z),
            _most_difference(self.control, self.treatment, z),
        )

    def relative_interval(self, level: float) -> Interval:
        """The same for the ratio of the rates minus 1; the upper end is infinite where control has no success.

        Source: Koopman 1984.
        """
        z = normal_critical(level)
        return Interval(
            inverse_relative(_most_relative(self.treatment, self.control, z)),
            _most_relative(self.control, self.treatment, z),
        )

    @property
    def relative(self) -> float | None:
        """The difference as a share of control's rate; None where that is zero."""
        return relative_of(self.control, self.treatment)

    def rate_interval(self, arm: Count, level: float) -> Interval:
        """The score interval of one arm's rate. Source: Wilson 1927."""
        z2 = normal_critical(level) ** 2
        centre = arm.successes + z2 / 2
        half = math.sqrt(z2 * (arm.successes * (arm.failures / arm.n) + z2 / 4))
        # The lower end as a quotient: as a difference it would cancel at small rates.
        return Interval(arm.successes**2 / arm.n / (centre + half), (centre + half) / (arm.n + z2))


def score(control: Count, treatment: Count) -> Score:
    """Test treatment's rate against control's by the pooled z, Pearson's chi-square without correction.

    Raises ValueError for an arm without users, counts out of range, or where all users or none succeed: then nothing
    varies. Source: Pearson 1900.
    """
    require_counts(control, treatment)
    n, successes = control.n + treatment.n, control.successes + treatment.successes
    if successes in (0, n):
        raise ValueError(f"{successes} of {n} users succeed: there is no variance and no test")
    estimate = difference_of(control, treatment)
    error = math.sqrt(successes / n * ((n - successes) / n) * (1 / control.n + 1 / treatment.n))
    tail = normal_two_sided(estimate / error)
    return Score(control, treatment, estimate, error, estimate / error, tail.p, tail.log10_p)


def difference_of(control: Count, treatment: Count) -> float:
    """Treatment's rate minus control's, in whole numbers up to the division: rates near 1 keep their digits."""
    (x0, n0), (x1, n1) = control, treatment
    return (x1 * n0 - x0 * n1) / (n0 * n1)


def relative_of(control: Count, treatment: Count) -> float | None:
    """The difference as a share of control's rate; None where that is zero."""
    (x0, n0), (x1, n1) = control, treatment
    return None if x0 == 0 else (x1 * n0 - x0 * n1) / (x0 * n1)


def inverse_relative(relative: float) -> float:
    """The relative effect with the arms exchanged: 1 / (1 + r) - 1; -1 for an infinite one and the reverse."""
    if math.isinf(relative):
        return -1.0
    return math.inf if relative == -1 else -relative / (1 + relative)


def require_counts(control: Count, treatment: Count) -> None:
    """Raise ValueError unless both arms have users and successes between none and all of them."""
    for successes, n in (control, treatment):
        if not 0 <= successes <= n or n < 1:
            raise ValueError(
                f"an arm needs users and between none and all of them succeed: {successes} of {n}"
            )


def _most_difference(control: Count, treatment: Count, z: float) -> float:
    """The largest difference at which the score statistic is not below -z."""
    if control.successes + treatment.successes > (control.n + treatment.n) / 2:
        control, treatment = treatment.flipped, control.flipped  # small rates keep their digits
    found = difference_of(control, treatment)

    # What is missing to z standard errors, by the variance where `found + step` is the truth
    def short(step: float) -> float:
        return step - z * math.sqrt(_variance_given_difference(control, treatment, found + step))

    return found + positive_root(short, _guess(control, treatment, z), 1 - found) if found < 1 else 1.0


def _guess(control: Count, treatment: Count, z: float) -> float:
    """About how far the end of an interval is from the estimate."""
    successes, n = control.successes + treatment.successes, control.n + treatment.n
    return z * math.sqrt((successes + 1) / (n + 1) * (1 / control.n + 1 / treatment.n))


def _variance_given_difference(control: Count, treatment: Count, difference: float) -> float:
    lower, upper = (control, treatment) if difference >= 0 else (treatment, control)
    size = min(abs(difference), 1.0)
    p = _lower_rate(lower, upper, size)
    q = min(1.0, p + size)
    return p * (1 - p) / lower.n + q * (1 - q) / upper.n


def _lower_rate(lower: Count, upper: Count, size: float) -> float:
    """The likeliest rate of the lower arm where the upper one's is `size` more: the root of the likelihood's slope.

    The slope falls all the way, so Newton's steps are kept within a bracket. They start from the closed form of
    Miettinen and Nurminen 1985, whose cubic cancels at small rates.
    """
    if size == 0:
        return (lower.successes + upper.successes) / (lower.n + upper.n)
    if size >= 1:
        return 0.0
    a, b, c, d = lower.successes, lower.failures, upper.successes, upper.failures
    if a == 0 and c / size - d / (1 - size) <= b:
        return 0.0
    if d == 0 and a / (1 - size) + c >= b / size:
        return 1 - size
    room = 1 - size
    low, high = 0.0, room
    guess = max(_closed_form(a, lower.n, c, upper.n, size), 1e-3 * room * (a + 1) / (lower.n + 2))
    p = min(guess, 0.999 * room)
    for _ in range(NEWTON_STEPS):
        q, left = p + size, room - p  # of which `left` is 1 - q without cancelling
        slope = a / p - b / (1 - p) + c / q - (d / left if d else 0.0)
        low, high = (p, high) if slope > 0 else (low, p)
        curve = a / p**2 + b / (1 - p) ** 2 + c / q**2 + (d / left**2 if d else 0.0)
        better = p + slope / curve
        if not low < better < high:
            better = (low + high) / 2
        if abs(better - p) <= 4e-16 * p:
            return better
        p = better
    return p


def _closed_form(x0: int, n0: int, x1: int, n1: int, size: float) -> float:
    n = n0 + n1
    l2 = ((n1 + 2 * n0) * size - n - x0 - x1) / n
    l1 = ((n0 * size - n - 2 * x0) * size + x0 + x1) / n
    l0 = x0 * size * (1 - size) / n
    q = l2**3 / 27 - l1 * l2 / 6 + l0 / 2
    p = math.copysign(math.sqrt(max(0.0, l2**2 / 9 - l1 / 3)), q)
    if p == 0:
        return -l2 / 3
    angle = (math.pi + math.acos(max(-1.0, min(1.0, q / p**3)))) / 3
    return 2 * p * math.cos(angle) - l2 / 3


def _most_relative(control: Count, treatment: Count, z: float) -> float:
    """The largest ratio of the rates, minus 1, at which the score statistic is not below -z."""
    found = relative_of(control, treatment)
    if found is None:
        return math.inf
    share, rate = 1 + found, treatment.rate

    # Without successes there is no ratio to step from: the step is the ratio itself
    def excess(step: float) -> float:
        return step - 1 if treatment.successes == 0 else found + share * math.expm1(step)

    def short(step: float) -> float:
        distance = step * control.rate if treatment.successes == 0 else rate * math.expm1(step)
        return distance - z * math.sqrt(_variance_given_relative(control, treatment, excess(step)))

    cells = min(control.successes, treatment.successes) + 1
    most = LOG_MOST if treatment.successes else math.exp(LOG_MOST)
    return excess(positive_root(short, min(z / math.sqrt(cells), 1.0), most))


def _variance_given_relative(control: Count, treatment: Count, r: float) -> float:
    """Of treatment's rate minus (1 + r) control's, at the likeliest rates whose ratio that is.

    They solve a quadratic. It is written in failures and r, so that nothing cancels where rates are near 1.
    """
    n, ratio = control.n + treatment.n, 1 + r
    y0, y1 = control.failures, treatment.failures
    s = n - y0 - y1
    root = math.sqrt(((n - y0) * r + y1 - y0) ** 2 + 4 * ratio * y0 * y1)
    whole = (n - y0) * ratio + (n - y1) + root
    p0 = 2 * s / whole
    q0 = _without_cancelling((n - y0) * r + y0 + y1, root, -4 * y0 * r * s) / whole
    q1 = _without_cancelling(y0 + y1 - r * (n - y0 - 2 * y1), root, 4 * y1 * r * ratio * s) / whole
    return ratio * p0 * (q1 / treatment.n + ratio * q0 / control.n)


def _without_cancelling(term: float, root: float, product: float) -> float:
    """The term + root; for a negative term as (root^2 - term^2) / (root - term), whose numerator is `product`."""
    return term + root if term >= 0 else max(0.0, product) / (root - term)
