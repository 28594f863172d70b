"""The root is found to the last digits from any guess, and the ends are returned where there is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exp_platform.stats.roots import positive_root


@given(st.floats(1e-200, 1e200), st.floats(1e-9, 1e9))
def test_any_root_from_any_guess(root: float, guess: float) -> None:
    assert positive_root(lambda x: math.log(x / root), guess) == pytest.approx(root, rel=1e-14, abs=0)


@given(st.floats(1e-9, 1e9))
def test_flat_and_steep_functions(root: float) -> None:
    for f in (lambda x: (x / root - 1) ** 5, lambda x: math.atan(1e6 * (x / root - 1))):
        found = positive_root(f, 1.0)
        assert abs(found / root - 1) < 1e-3
        assert abs(f(found)) < 1e-9


def test_without_a_change_of_sign_the_end_is_returned() -> None:
    assert positive_root(lambda x: x, 1.0) == 0.0
    assert positive_root(lambda x: -1.0, 1.0, most=3.0) == 3.0
    assert positive_root(lambda x: x - 2, 5.0, most=3.0) == 2.0
