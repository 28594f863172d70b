"""Behavioural segments: where the top begins, who is at it, and that the pre-period alone decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import pytest

from exp_platform.aggregates import ALL, Threshold
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Behaviour, Measure
from exp_platform.config.plans import AnalysisPlan
from exp_platform.kernels.behaviour import (
    definition,
    distributions,
    frozen,
    threshold,
    thresholds_of,
    with_thresholds,
)
from exp_platform.kernels.quantiles import Distribution
from kernels.cases import (
    Data,
    Exposure,
    Outcome,
    aggregates_of,
    events_experiment,
    exposures_table,
    local,
    outcomes_table,
    units_experiment,
)

VIEWS = Behaviour("power_user", Measure("view", "count"), 0.1)


def spec(behaviour: Behaviour = VIEWS, **more: object) -> Experiment:
    return replace(events_experiment(), segments=("device", "power_user"), behaviours=(behaviour,), **more)


def published(behaviour: Behaviour, value: float, experiment: Experiment) -> Threshold:
    return Threshold(definition(experiment, behaviour), value, 0.1, 1000, date(2025, 3, 28), "r1")


@pytest.mark.parametrize("share", ["0.05", "0.1", "0.07", "0.5", "0.9"])
def test_it_is_the_largest_value_that_the_share_reaches(share: str) -> None:
    """In exact arithmetic; where that is everybody, the next larger value."""
    wanted, rng = Fraction(share), np.random.default_rng(1)
    for spread in [*range(1, 13)] * 10:
        values = rng.poisson(rng.gamma(1, spread), rng.integers(100, 300)).tolist()
        reach = {v: Fraction(sum(x >= v for x in values), len(values)) for v in values}
        largest = max(v for v in values if reach[v] >= wanted)
        above = [v for v in values if v > min(values)]
        expected = min(above) if largest == min(values) and above else largest
        assert threshold(Distribution.of(np.array(values, dtype=float)), float(share)) == expected


def test_ten_of_a_hundred_are_the_top_tenth_and_ties_join_them() -> None:
    distinct = Distribution.of(np.arange(100.0))
    assert threshold(distinct, 0.1) == 90.0
    tied = Distribution.of(np.concatenate([np.zeros(80), np.full(15, 3.0), np.full(5, 9.0)]))
    found = frozen(tied, spec(), VIEWS, date(2025, 3, 28), "r1")
    assert found is not None
    assert (found.value, found.share, found.users) == (3.0, 0.2, 100)


def test_where_most_did_nothing_the_top_are_those_who_did_something() -> None:
    idle = Distribution.of(np.concatenate([np.zeros(96), [1.0, 1.0, 2.0, 5.0]]))
    assert threshold(idle, 0.1) == 1.0
    assert threshold(Distribution.of(np.zeros(200)), 0.1) == 0.0


def test_fewer_than_a_hundred_users_freeze_nothing() -> None:
    few = Distribution.of(np.arange(99.0))
    assert threshold(few, 0.1) is None
    assert frozen(few, spec(), VIEWS, date(2025, 3, 28), "r1") is None


def rows(experiment: Experiment) -> Data:
    """Users a to e with views in the pre-period; e is exposed on day 3, all view a hundred times after exposure."""
    data = Data()
    for i, user in enumerate("abcde"):
        exposed = local(experiment, 3 if user == "e" else 0)
        data.exposures.append(Exposure(user, ("control", "blue")[i % 2], exposed, {"device": "phone"}))
        data.outcomes += [Outcome(user, "view", local(experiment, -1, k)) for k in range(i)]
        data.outcomes += [Outcome(user, "view", exposed + timedelta(minutes=k)) for k in range(100)]
    # In the four days before e's exposure, but after the experiment's start.
    data.outcomes += [Outcome("e", "view", local(experiment, 2, k)) for k in range(5)]
    return data


def members(experiment: Experiment, day: int = 5) -> dict[str, int]:
    """Users by value of the segment."""
    (found,) = aggregates_of(rows(experiment), experiment, [experiment.window.start + timedelta(days=day)], 3)
    counts: dict[str, int] = {}
    for block in found.blocks:
        if (block.kind, block.metric_id, block.segment) == ("total", "converted", "power_user"):
            counts[block.segment_value] = counts.get(block.segment_value, 0) + block.moments.n
    return counts


def test_behaviour_after_the_start_sorts_nobody() -> None:
    """The power-user trap: all of them view a hundred times after exposure, and only d and e three times before."""
    assert members(spec(replace(VIEWS, threshold=3.0))) == {"top": 2, "rest": 3}
    assert members(spec(replace(VIEWS, threshold=3.0)), day=0) == {"top": 1, "rest": 3}
    assert members(spec(replace(VIEWS, threshold=50.0))) == {"rest": 5}


def test_with_the_anchor_first_exposure_the_pre_period_is_each_users_own() -> None:
    plan = AnalysisPlan(pre_period_days=2, did_days=2, anchor="first_exposure")
    assert members(spec(replace(VIEWS, threshold=5.0), analyses=plan)) == {"top": 1, "rest": 4}
    plan = replace(plan, anchor="experiment_start")
    assert members(spec(replace(VIEWS, threshold=5.0), analyses=plan)) == {"rest": 5}


def test_without_a_threshold_everybody_is_unknown() -> None:
    assert members(spec()) == {"unknown": 5}


def test_it_may_be_crossed_with_an_attribute() -> None:
    plan = AnalysisPlan(pre_period_days=4, did_days=3, strata=("device", "power_user"))
    experiment = spec(replace(VIEWS, threshold=3.0), analyses=plan)
    (day,) = aggregates_of(rows(experiment), experiment, [experiment.window.end])
    assert day.segment_values("device × power_user") == ["phone × rest", "phone × top"]


def test_users_of_a_table_without_a_value_are_a_value_of_their_own() -> None:
    history = Behaviour("veteran", Measure("history", "sum"), 0.5, threshold=2.0)
    experiment = replace(units_experiment("zero"), segments=("veteran",), behaviours=(history,))
    data, at = Data(), experiment.window.starts_at()
    for user, value in {"a": 1.0, "b": 2.0, "c": None, "d": 0.0, "e": 7.5}.items():
        data.exposures.append(Exposure(user, "control", at))
        data.outcomes.append(Outcome(user, "spend", at, 100.0))
        if value is not None:
            data.outcomes.append(Outcome(user, "history", at - timedelta(days=1), value))
    (day,) = aggregates_of(data, experiment, [experiment.window.end])
    found = {v: day.block("spend", "control", "veteran", v) for v in day.segment_values("veteran")}
    assert {v: b.moments.n for v, b in found.items() if b} == {"rest": 2, "top": 2, "unknown": 1}
    pooled = distributions(
        exposures_table(data.exposures),
        outcomes_table(data.outcomes),
        experiment,
        experiment.window.end,
        [history],
    )["veteran"]
    assert (pooled.values.tolist(), pooled.counts.tolist()) == ([0.0, 1.0, 2.0, 7.5], [1, 1, 1, 1])


def test_values_are_pooled_over_arms_without_crossovers_and_later_users() -> None:
    experiment = spec()
    data = rows(experiment)
    data.exposures.append(Exposure("d", "control", local(experiment, 1)))  # d was blue
    tables = exposures_table(data.exposures), outcomes_table(data.outcomes)

    def counts(day: int) -> dict[float, int]:
        as_of = experiment.window.start + timedelta(days=day)
        pooled = distributions(*tables, experiment, as_of, [VIEWS])["power_user"]
        return dict(zip(pooled.values.tolist(), pooled.counts.tolist(), strict=True))

    assert counts(0) == {0.0: 1, 1.0: 1, 2.0: 1, 3.0: 1}
    assert counts(5) == {0.0: 1, 1.0: 1, 2.0: 1, 4.0: 1}


def test_a_definition_has_its_own_threshold_and_its_name_does_not_matter() -> None:
    experiment = spec()
    words = definition(experiment, VIEWS)
    assert words == "top 10 % by count of view in the 4 days before 2025-03-27 (Europe/Berlin)"
    known = [published(VIEWS, 7.0, experiment)]
    assert thresholds_of(experiment, known) == {"power_user": known[0]}
    assert with_thresholds(experiment, thresholds_of(experiment, known)).behaviours[0].threshold == 7.0
    renamed = replace(VIEWS, segment="fan")
    assert definition(experiment, renamed) == words
    anchored = spec(analyses=replace(experiment.analyses, anchor="first_exposure"))
    changed = [
        definition(experiment, replace(VIEWS, top=0.2)),
        definition(experiment, replace(VIEWS, measure=Measure("view", "sum"))),
        definition(spec(analyses=replace(experiment.analyses, pre_period_days=5)), VIEWS),
        definition(anchored, VIEWS),
    ]
    assert len({words, *changed}) == 5
    assert thresholds_of(anchored, known) == {}
    dated = replace(units_experiment("zero"), behaviours=())
    history = Behaviour("veteran", Measure("history", "sum"), 0.025, date(2025, 2, 28))
    assert definition(dated, history) == "top 2.5 % by column history until 2025-02-28"


@pytest.mark.parametrize("segment", [ALL, "power_user"])
def test_a_segment_takes_nothing_from_the_whole(segment: str) -> None:
    experiment = spec(replace(VIEWS, threshold=3.0))
    (day,) = aggregates_of(rows(experiment), experiment, [experiment.window.end])
    n = sum(
        b.moments.n for b in day.blocks if (b.kind, b.metric_id, b.segment) == ("total", "converted", segment)
    )
    assert n == 5
