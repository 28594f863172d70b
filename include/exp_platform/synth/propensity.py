"""The model of a synthetic user, and what it makes true of the whole population.

A user's latent propensity z is standard normal. In an arm with conversion rate r the user's own conversion
probability is p = sigmoid(a + s z), where s is `propensity_sd` and a is solved so that the average of p over the
population is r: exactly, but for an integral by the trapezoid rule, whose error on a Gaussian is below 1e-12.
Orders are Poisson with mean -log(1 - p) = log(1 + exp(a + s z)), so a user orders at least once with probability p
whatever time is left when the user is exposed: a late user's orders lie closer together. Before exposure a user
orders by control's law, at a rate that makes p the probability of an order in `pre_period_days` days.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import SyntheticSource
from exp_platform.errors import ConfigError

Array = NDArray[np.float64]

VIEWS_A_DAY = 0.25  # pageviews a user and day, on average

_Z = np.linspace(-12.0, 12.0, 4801)
_WEIGHTS = np.exp(-_Z * _Z / 2) / np.sqrt(2 * np.pi) * (_Z[1] - _Z[0])


@dataclass(frozen=True)
class Truth:
    """Averages of one arm over all users, between exposure and the end of the window, as if all were in that arm."""

    variant_id: str
    conversion: float  # probability of at least one order
    orders: float
    revenue: float  # for normal order values: where none is cut off at 0.01


def truths(experiment: Experiment) -> tuple[Truth, ...]:
    """What is true of each variant of a synthetic experiment, in the spec's order."""
    source = synthetic_source(experiment)
    lifts = (0.0, *source.effect_lift_revenue)
    found = []
    for variant, rate, by_day, lift in zip(
        experiment.variants, conversion_rates(source), intercepts_by_day(source).T, lifts, strict=True
    ):
        orders = float((orders_of(by_day[:, None] + source.propensity_sd * _Z) @ _WEIGHTS).mean())
        found.append(Truth(variant.id, rate, orders, orders * source.revenue_mean * (1 + lift)))
    return tuple(found)


def synthetic_source(experiment: Experiment) -> SyntheticSource:
    """The experiment's source. Raises ConfigError where it is not synthetic."""
    if not isinstance(experiment.source, SyntheticSource):
        raise ConfigError(
            f"{experiment.id}: its source is {experiment.source.kind}; only synthetic data are generated"
        )
    return experiment.source


def conversion_rates(source: SyntheticSource) -> tuple[float, ...]:
    """The population's conversion rate in each variant, control first. Raises ConfigError outside [0, 1)."""
    rates = (
        source.base_conversion,
        *(source.base_conversion + lift for lift in source.effect_lift_conversion),
    )
    if not all(0 <= rate < 1 for rate in rates):
        raise ConfigError(f"base_conversion plus effect_lift_conversion must lie in [0, 1), found {rates}")
    return rates


def intercepts(source: SyntheticSource) -> Array:
    """The logits at z = 0 that give each variant its conversion rate, shape (variants,); -inf for a rate of 0."""
    return np.array([_intercept(rate, source.propensity_sd) for rate in conversion_rates(source)])


@lru_cache(maxsize=16)
def intercepts_by_day(source: SyntheticSource) -> Array:
    """`intercepts` of users exposed on each day of the window, shape (days, variants): rates drift by `conversion_trend`.

    They do so in equal steps about their mean over the days, which stays what it is without a trend.
    """
    middles = (np.arange(source.days) + 0.5) / source.days - 0.5
    if not source.conversion_trend:
        return np.tile(intercepts(source), (source.days, 1))
    return np.array(
        [
            [
                _intercept(rate + source.conversion_trend * m, source.propensity_sd)
                for rate in conversion_rates(source)
            ]
            for m in middles
        ]
    )


def orders_of(logit: Array) -> Array:
    """Mean number of orders of users with these logits of converting, same shape."""
    return np.logaddexp(0.0, logit)


def views_a_day(z: Array, propensity_sd: float) -> Array:
    """Pageviews a day of users with propensity `z`, same shape; their mean over the population is VIEWS_A_DAY."""
    spread = propensity_sd / 2
    return VIEWS_A_DAY * np.exp(spread * z - spread**2 / 2)


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return np.exp(-np.logaddexp(0.0, -x))


def _intercept(rate: float, spread: float) -> float:
    if rate == 0:
        return -np.inf
    low, high = -100.0, 100.0
    for _ in range(80):  # bisection: the average rises with the intercept
        middle = (low + high) / 2
        if _WEIGHTS @ sigmoid(middle + spread * _Z) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
