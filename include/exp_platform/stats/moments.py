"""Moments: the sufficient statistics that every analysis is computed from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exp_platform.stats.rounding import combined, is_zero

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean vector and centred co-moment matrix of k columns over n users.

    `m2[i, j]` is the sum over users of (x_i - mean_i)(x_j - mean_j); never sums of squares, which cancel.
    Moments of disjoint users merge exactly (Chan, Golub and LeVeque 1983, eq. 2.1).
    """

    n: int
    mean: Array  # shape (k,)
    m2: Array  # shape (k, k)
    terms: Array | None = None  # shape (k,), see `size`

    @staticmethod
    def of(values: ArrayLike) -> Moments:
        """Moments of `values`, shape (n, k) or (n,) for one column, by two passes.

        Raises ValueError for another shape and where a value is not finite.
        """
        x = np.asarray(values, dtype=np.float64)
        if x.ndim == 1:
            x = x[:, None]
        if x.ndim != 2:
            raise ValueError(f"values must have one or two dimensions, not {x.ndim}")
        if not np.isfinite(x).all():
            raise ValueError("values must be finite: a null or an infinity has no Moments")
        if len(x) == 0:
            return Moments.empty(x.shape[1])
        mean = x.mean(axis=0)
        centred = x - mean
        correction = centred.mean(axis=0)  # what rounding of the mean left over
        centred -= correction
        return Moments(len(x), mean + correction, centred.T @ centred)

    @property
    def size(self) -> Array:
        """How large the numbers are that each column was combined from, by which its rounding is judged; shape (k,)."""
        return np.abs(self.mean) if self.terms is None else self.terms

    @staticmethod
    def empty(k: int) -> Moments:
        """Moments of no users in k columns: the neutral element of `merge`."""
        return Moments(0, np.zeros(k), np.zeros((k, k)))

    def merge(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint sets of users; ValueError where columns differ in number."""
        if len(self.mean) != len(other.mean):
            raise ValueError(f"cannot merge Moments of {len(self.mean)} and {len(other.mean)} columns")
        if self.n == 0:
            return other
        if other.n == 0:
            return self
        n = self.n + other.n
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.n / n)
        m2 = self.m2 + other.m2 + np.outer(delta, delta) * (self.n / n * other.n)
        plain = self.terms is None and other.terms is None
        return Moments(n, mean, m2, None if plain else np.maximum(self.size, other.size))

    @staticmethod
    def merge_all(parts: Iterable[Moments]) -> Moments:
        """Merge one or more Moments, in the order given. Raises ValueError where there are none."""
        total: Moments | None = None
        for part in parts:
            total = part if total is None else total.merge(part)
        if total is None:
            raise ValueError("no Moments to merge")
        return total

    def linear(self, weights: ArrayLike) -> Moments:
        """Moments of the linear combinations `weights @ x`; weights of shape (j, k) or (k,).

        A combination whose columns cancel has exactly zero co-moments, not the rounding they leave, and a mean of exactly
        zero where that cancels too (`stats.rounding`).
        """
        w = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        m2, varies = combined(w, self.m2, math.sqrt(self.n) * self.size)
        mean, size = w @ self.mean, np.abs(w) @ self.size
        mean[~varies & is_zero(mean, size)] = 0.0
        return Moments(self.n, mean, m2, size)

    def settled(self) -> Moments:
        """The same columns with co-moments of exactly zero where only rounding is in them."""
        return self.linear(np.eye(len(self.mean)))

    def select(self, columns: Sequence[int]) -> Moments:
        """Moments of some of the columns, by position."""
        index = list(columns)
        if index == list(range(len(self.mean))):
            return self
        terms = None if self.terms is None else self.terms[index]
        return Moments(self.n, self.mean[index], self.m2[np.ix_(index, index)], terms)

    def covariance(self) -> Array:
        """Sample covariance matrix, shape (k, k), divisor n - 1. Raises ValueError below two users."""
        if self.n < 2:
            raise ValueError(f"a covariance needs two users, not {self.n}")
        return self.m2 / (self.n - 1)

    def variance(self, column: int) -> float:
        """Sample variance of one column, divisor n - 1. Raises ValueError below two users."""
        if self.n < 2:
            raise ValueError(f"a variance needs two users, not {self.n}")
        return float(self.m2[column, column]) / (self.n - 1)

    def to_json(self) -> dict[str, Any]:
        """A JSON object whose floats round-trip exactly."""
        return {"n": self.n, "mean": self.mean.tolist(), "m2": self.m2.tolist()}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Moments:
        """The inverse of `to_json`."""
        k = len(data["mean"])
        return Moments(
            int(data["n"]), np.asarray(data["mean"], float), np.asarray(data["m2"], float).reshape(k, k)
        )
