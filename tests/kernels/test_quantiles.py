"""Quantiles of distinct values and counts are NumPy's of all values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exp_platform.config.metrics import Winsorise
from exp_platform.kernels.quantiles import Distribution

NUMBERS = st.lists(st.sampled_from([0.0, 0.1, 0.7, 1.0, -2.5, 3.3, 1e12]) | st.floats(-1e3, 1e3), min_size=1)
SHARES = st.sampled_from([0.01, 0.05, 0.07, 0.3, 0.5, 0.55, 0.95, 0.99]) | st.floats(0.001, 0.999)


@given(NUMBERS, SHARES)
def test_quantiles_are_those_of_numpy(values: list[float], q: float) -> None:
    distribution = Distribution.of(np.array(values))
    assert distribution.n == len(values)
    assert distribution.quantile(q) == np.quantile(values, q)
    assert distribution.cap(q) == np.quantile(values, q, method="inverted_cdf")


@given(st.lists(NUMBERS, min_size=1, max_size=4), SHARES)
def test_pooled_parts_are_one_distribution(parts: list[list[float]], q: float) -> None:
    pooled = Distribution.pooled(Distribution.of(np.array(part)) for part in parts)
    together = Distribution.of(np.concatenate(parts))
    np.testing.assert_array_equal(pooled.values, together.values)
    np.testing.assert_array_equal(pooled.counts, together.counts)


def test_caps_are_values_of_users_and_shares_count_those_beyond_each() -> None:
    distribution = Distribution.of(
        np.array([0.0] * 90 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1000.0])
    )
    caps = distribution.caps(Winsorise(upper=0.99))
    assert caps == (None, 9.0)  # the 99th of 100 users
    assert distribution.shares_beyond(caps) == (0.0, pytest.approx(0.01))
    assert distribution.shares_beyond((1.0, 9.0)) == (pytest.approx(0.90), pytest.approx(0.01))


def test_nobody_has_no_quantiles() -> None:
    nobody = Distribution.pooled([])
    assert nobody.n == 0
    assert nobody.quantile(0.5) is None
    assert nobody.caps(Winsorise(0.1, 0.9)) == (None, None)
