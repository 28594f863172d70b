"""Segments made of what users did in the pre-period: who is at the top, and where the top begins."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa

from exp_platform.aggregates import Threshold
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Behaviour
from exp_platform.kernels.quantiles import Distribution
from exp_platform.kernels.unit_days import Floats, unit_days
from exp_platform.kernels.user_values import Mask, Snapshot, per_user
from exp_platform.kernels.users import UNKNOWN, Attribute, first_exposures

TOP, REST = "top", "rest"
LEAST_USERS = 100  # a comparison's; a threshold of fewer would be frozen for want of users


def definition(experiment: Experiment, behaviour: Behaviour) -> str:
    """What a threshold is of, in words: a segment whose definition changes gets a threshold of its own."""
    measure, plan = behaviour.measure, experiment.analyses
    top = f"top {behaviour.top * 100:g} %"
    if experiment.source.kind == "units":
        return f"{top} by column {measure.event}" + (f" until {behaviour.until}" if behaviour.until else "")
    before = f"{experiment.window.start} ({experiment.window.timezone})"
    if plan.anchor == "first_exposure":
        before = "first exposure"
    return f"{top} by {measure.told} in the {plan.pre_period_days} days before {before}"


def attribute_of(now: Snapshot, segment: str) -> Attribute:
    """A segment's value for every user of the snapshot: recorded with the exposure, or made of behaviour before it.

    `unknown` is who has no value in a units table, and everybody while there is no threshold.
    """
    behaviour = next((b for b in now.experiment.behaviours if b.segment == segment), None)
    if behaviour is None:
        recorded = now.users.attributes[segment]
        return Attribute(recorded.codes[: now.n], recorded.values)
    values, known = _values(now, behaviour)
    if behaviour.threshold is None:
        known = np.zeros_like(known)
    reached = values >= (behaviour.threshold or 0.0)
    return Attribute(np.where(known, reached.astype(np.int64), 2), (REST, TOP, UNKNOWN))


def distributions(
    exposures: pa.Table, outcomes: pa.Table, experiment: Experiment, as_of: date, wanted: Iterable[Behaviour]
) -> dict[str, Distribution]:
    """By segment the pre-period values of one bucket's analysed users who have one, all arms together."""
    behaviours = tuple(wanted)
    if not behaviours:
        return {}
    reduced = replace(experiment, metrics=(), segments=(), behaviours=behaviours)
    users = first_exposures(exposures, reduced, as_of)
    now = Snapshot(users, unit_days(users, outcomes, reduced, as_of), reduced, as_of)
    found = {}
    for behaviour in behaviours:
        values, known = _values(now, behaviour)
        found[behaviour.segment] = Distribution.of(values[known & now.analysed])
    return found


def threshold(pooled: Distribution, top: float) -> float | None:
    """The largest value that at least a share `top` of users reach; None of fewer than 100 users.

    Users who tie there are all at the top, so its share is `top` or more. Where all users reach that value it is the next
    larger one, and the share is less: a top of everybody would be no segment.
    """
    if pooled.n < LEAST_USERS:
        return None
    rank = pooled.n - max(1, math.ceil(round(pooled.n * top, 6)))
    found = pooled.order_statistic(rank)
    larger = pooled.values[pooled.values > pooled.values[0]]
    return float(larger[0]) if found == pooled.values[0] and len(larger) else found


def frozen(
    pooled: Distribution, experiment: Experiment, behaviour: Behaviour, as_of: date, run_id: str
) -> Threshold | None:
    """The threshold as it is published; None where users are too few for one."""
    value = threshold(pooled, behaviour.top)
    if value is None:
        return None
    share = float(pooled.counts[pooled.values >= value].sum() / pooled.n)
    return Threshold(definition(experiment, behaviour), value, share, pooled.n, as_of, run_id)


def thresholds_of(experiment: Experiment, published: Iterable[Threshold]) -> dict[str, Threshold]:
    """By segment the published thresholds of the experiment's own definitions."""
    known = {t.definition: t for t in published}
    wanted = {b.segment: definition(experiment, b) for b in experiment.behaviours}
    return {segment: known[words] for segment, words in wanted.items() if words in known}


def with_thresholds(experiment: Experiment, thresholds: dict[str, Threshold]) -> Experiment:
    """The experiment whose behavioural segments know their thresholds."""
    return replace(
        experiment,
        behaviours=tuple(
            replace(b, threshold=thresholds[b.segment].value) if b.segment in thresholds else b
            for b in experiment.behaviours
        ),
    )


def _values(now: Snapshot, behaviour: Behaviour) -> tuple[Floats, Mask]:
    """Every user's pre-period value, and who has one: of events everybody, as nothing done is 0."""
    rows = now.before(now.rows(behaviour.measure))
    known = np.ones(now.n, dtype=np.bool_)
    if now.is_units:
        known = np.zeros(now.n, dtype=np.bool_)
        known[rows.user] = True
    return per_user(rows, behaviour.measure, now.n), known
