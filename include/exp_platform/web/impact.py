"""What shipping has brought, metric by metric: effects shrunken by all experiments that measured it, and compounded."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from pydantic import BaseModel, Field

from exp_platform.config.experiment import Experiment
from exp_platform.results.measured import Measured
from exp_platform.results.newest import Newest
from exp_platform.stats.intervals import normal_critical, t_critical
from exp_platform.stats.relative import LARGEST
from exp_platform.stats.shrinkage import FEWEST, LogEffect, Shrunken, log_effect, shrink

LEVEL = 0.95


class Estimate(BaseModel):
    """A relative effect as a fraction, with an interval of coverage 0.95, of this effect alone."""

    relative: float
    low: float
    high: float


class ShippedEffect(BaseModel):
    """What one shipped treatment did to a metric."""

    experiment_id: str
    treatment_id: str
    measured: Estimate = Field(
        description="as the experiment found it, which is too large of what was chosen for it"
    )
    expected: Estimate | None = Field(
        description="shrunken by what all experiments found; null where too few measured the metric"
    )


class Impact(BaseModel):
    """What was shipped, on one shared metric: relative effects compounded, never those that were significant added up."""

    metric_id: str
    definition: str
    direction: int = Field(description="1 where an increase is good, -1 where a decrease is")
    experiments: int = Field(description="that measured it with data that can be trusted, winners or not")
    needed: int = Field(description="experiments below which no impact is told")
    shipped: list[ShippedEffect]
    without_estimate: list[str] = Field(
        description="shipped experiments that have the metric and no usable estimate of it: they are not in the total"
    )
    total: Estimate | None = Field(
        description="of all that was shipped; null where nothing was, or too few measured it"
    )
    compounded_as_measured: float | None = Field(
        description="the same of the plain estimates, for comparison: too large, as what was lucky was shipped"
    )
    typical_low: float | None = Field(
        description="two in three true effects lie above this and below typical_high"
    )
    typical_high: float | None


class Decided(NamedTuple):
    """One experiment as far as the impact needs it: its newest decision, and whether that is final."""

    newest: Newest
    decided: bool
    experiment: Experiment | None  # None: neither its spec nor a frozen one is there


@dataclass(frozen=True)
class _Arm:
    experiment_id: str
    treatment_id: str
    shipped: bool
    effect: LogEffect


@dataclass(frozen=True)
class _Metric:
    """All that was measured of one shared metric."""

    id: str
    definition: str
    direction: int
    arms: tuple[_Arm, ...]
    without_estimate: tuple[str, ...]


def impacts(found: Iterable[Decided], measured: Mapping[str, tuple[Measured, ...]]) -> list[Impact]:
    """The impact on each metric that the library defines and two experiments at least measured; most shipped first."""
    told = [
        _KEPT.of(metric)
        for metric in _metrics(found, measured)
        if len({a.experiment_id for a in metric.arms}) > 1
    ]
    return sorted(told, key=lambda one: (one.total is None, -len(one.shipped), one.metric_id, one.definition))


def _metrics(found: Iterable[Decided], measured: Mapping[str, tuple[Measured, ...]]) -> list[_Metric]:
    """By id and definition: one name for two definitions, or two windows, is two metrics."""
    arms: dict[tuple[str, str], list[_Arm]] = {}
    missing: dict[tuple[str, str], list[str]] = {}
    directions: dict[tuple[str, str], int] = {}
    for newest, decided, experiment in found:
        if newest.trust != "ok" or experiment is None:
            continue
        ships = newest.winning_variant if decided and newest.action == "ship" else None
        rows = _against_control(measured.get(newest.experiment_id, ()))
        for metric in experiment.metrics:
            key = metric.id, newest.definitions.get(metric.id, "")
            shared = metric.id in experiment.provenance and experiment.provenance[metric.id].file
            if not shared or not key[1]:
                continue
            directions[key] = metric.direction
            read = [(row, effect) for row in rows if row.metric_id == metric.id and (effect := _effect(row))]
            arms.setdefault(key, []).extend(
                _Arm(newest.experiment_id, row.treatment_id, row.treatment_id == ships, effect)
                for row, effect in read
            )
            if ships is not None and all(row.treatment_id != ships for row, _ in read):
                missing.setdefault(key, []).append(newest.experiment_id)
    return [
        _Metric(*key, directions[key], tuple(of_key), tuple(missing.get(key, ())))
        for key, of_key in arms.items()
    ]


def _against_control(rows: Iterable[Measured]) -> list[Measured]:
    """Without comparisons of treatments: control is the arm that is nobody's treatment."""
    rows = list(rows)
    treatments = {row.treatment_id for row in rows}
    return [row for row in rows if row.control_id not in treatments]


def _effect(row: Measured) -> LogEffect | None:
    """On the scale of logarithms, which only positive means have."""
    if None in (row.relative, row.relative_low, row.relative_high) or not 0 < (row.ci_level or 0) < 1:
        return None
    if not ((row.mean_control or 0) > 0 and (row.mean_treatment or 0) > 0):
        return None
    df = row.degrees_of_freedom or math.inf
    return log_effect(row.relative, row.relative_low, row.relative_high, t_critical(row.ci_level, df))  # type: ignore[arg-type]


def impact_of(metric: _Metric) -> Impact:
    """The impact on one metric."""
    arms = metric.arms
    chosen = [at for at, arm in enumerate(arms) if arm.shipped]
    experiments = len({arm.experiment_id for arm in arms})
    beliefs = None
    if experiments >= FEWEST:
        beliefs = shrink(
            [a.effect.estimate for a in arms],
            [a.effect.standard_error for a in arms],
            [a.experiment_id for a in arms],
        )
    typical = (None, None) if beliefs is None else map(_relative, beliefs.typical)
    low, high = typical
    return Impact(
        metric_id=metric.id,
        definition=metric.definition,
        direction=metric.direction,
        experiments=experiments,
        needed=FEWEST,
        shipped=[
            ShippedEffect(
                experiment_id=arms[at].experiment_id,
                treatment_id=arms[at].treatment_id,
                measured=_plain(arms[at].effect),
                expected=None if beliefs is None else _estimate(beliefs.of([at], LEVEL)),
            )
            for at in chosen
        ],
        without_estimate=list(metric.without_estimate),
        total=None if beliefs is None or not chosen else _estimate(beliefs.of(chosen, LEVEL)),
        compounded_as_measured=_relative(sum(arms[at].effect.estimate for at in chosen)) if chosen else None,
        typical_low=low,
        typical_high=high,
    )


def _plain(effect: LogEffect) -> Estimate:
    half = normal_critical(LEVEL) * effect.standard_error
    bounds = (effect.estimate, effect.estimate - half, effect.estimate + half)
    relative, low, high = map(_relative, bounds)
    return Estimate(relative=relative, low=low, high=high)


def _estimate(found: Shrunken) -> Estimate:
    return Estimate(relative=_relative(found.mean), low=_relative(found.low), high=_relative(found.high))


def _relative(log: float) -> float:
    """The relative effect of a logarithm; one that no float holds is the largest."""
    return math.expm1(min(log, LARGEST))


class _Kept:
    """Impacts by all that they are made of: shrinking takes a tenth of a second, and most requests ask for the same."""

    MOST = 200

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: OrderedDict[_Metric, Impact] = OrderedDict()

    def of(self, metric: _Metric) -> Impact:
        """The impact on one metric."""
        with self._lock:
            if metric in self._found:
                self._found.move_to_end(metric)
                return self._found[metric]
        made = impact_of(metric)
        with self._lock:
            self._found[metric] = made
            while len(self._found) > self.MOST:
                self._found.popitem(last=False)
        return made


_KEPT = _Kept()
