"""Segments of many values: the most frequent over all buckets are kept, the others are one, and nothing else changes."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exp_platform.aggregates import Aggregates, write_aggregates
from exp_platform.config.allocation import Allocation
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Behaviour
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.sources import REPLICATE, SyntheticSource
from exp_platform.kernels import pools
from exp_platform.kernels.aggregate import aggregate
from exp_platform.kernels.pools import MOST_STRATA, MOST_VALUES, RARER, ValueCounts, pools_of
from exp_platform.kernels.unit_days import unit_days
from exp_platform.kernels.users import Attribute, first_exposures
from kernels.cases import (
    EVENT_METRICS,
    ORDERS,
    REVENUE,
    Data,
    Exposure,
    aggregates_of,
    events_experiment,
    exposures_table,
    metric,
    outcomes_table,
)
from kernels.naive import Naive
from kernels.test_merge import random_data

MEDIAN = metric("median_spend", "quantile", REVENUE, q=0.5)
SPEC = events_experiment(metrics=(*EVENT_METRICS, MEDIAN))
RAMP = replace(
    SPEC,
    ramp=(
        Allocation(SPEC.window.start, (0.8, 0.1, 0.1)),
        Allocation(SPEC.window.start + timedelta(days=2), (0.4, 0.3, 0.3)),
    ),
)
LAST = SPEC.last_as_of
EARLY = SPEC.window.start + timedelta(days=2)


def with_values(values: int, seed: int = 3, users: int = 900) -> Data:
    """Users of so many tiers and devices, few of which are frequent and many equally rare."""
    rng = random.Random(seed)
    data = random_data(users, seed)

    def drawn(name: str) -> str:
        return f"{name} {min(int(rng.paretovariate(0.35)), rng.randrange(1, values))}"

    recorded = {e.user: {"device": drawn("d"), "tier": drawn("t")} for e in data.exposures if e.attributes}
    exposures = [replace(e, attributes=recorded[e.user] if e.attributes else None) for e in data.exposures]
    return Data(exposures, data.outcomes)


DATA = with_values(400)


def most_frequent(experiment: Experiment, as_of: date, name: str, most: int, data: Data = DATA) -> set[str]:
    """By counting every user who is assigned by then, however many buckets there are."""
    users = Counter(u.attributes[name] for u in Naive(data, experiment, as_of).everybody)
    return set(sorted(users, key=lambda value: (-users[value], value))[: most - 1])


def renamed(data: Data, kept: dict[str, set[str]], name: str = RARER) -> Data:
    """The data as somebody would have recorded them who knew which values are rare."""

    def known(attributes: dict[str, str | None]) -> dict[str, str | None]:
        return {a: v if a not in kept or (v or "unknown") in kept[a] else name for a, v in attributes.items()}

    exposures = [replace(e, attributes=e.attributes and known(e.attributes)) for e in data.exposures]
    return Data(exposures, data.outcomes)


def as_json(day: Aggregates, folder: Path) -> dict[str, Any]:
    write_aggregates(folder / "aggregates.json", [day])
    return dict(json.loads((folder / "aggregates.json").read_text())[0])


@pytest.mark.parametrize("buckets", [1, 3])
@pytest.mark.parametrize("as_of", [EARLY, LAST])
@pytest.mark.parametrize("experiment", [SPEC, RAMP], ids=["one allocation", "ramp"])
def test_pooling_is_as_if_the_rarer_values_had_been_recorded_as_one(
    tmp_path: Path, experiment: Experiment, as_of: date, buckets: int
) -> None:
    """Means, caps, quantiles, cohorts, daily values and periods to the last bit; the values are those of all buckets."""
    kept = {name: most_frequent(experiment, as_of, name, MOST_VALUES) for name in ("device", "tier")}
    (pooled,) = aggregates_of(DATA, experiment, [as_of], buckets)
    (expected,) = aggregates_of(renamed(DATA, kept), experiment, [as_of], buckets)
    assert expected.pooled == {}
    found, wanted = as_json(pooled, tmp_path), as_json(expected, tmp_path)
    told = found.pop("pooled")
    assert found | {"pooled": {}} == wanted
    everybody = Naive(DATA, experiment, as_of).everybody
    for name, values in kept.items():
        assert set(pooled.segment_values(name)) <= values | {RARER}
        others = [u.attributes[name] for u in everybody if u.attributes[name] not in values]
        assert told[name] == {
            name: {
                "value": RARER,
                "kept": MOST_VALUES - 1,
                "values": len(set(others)),
                "more": False,
                "users": len(others),
            }
        }


def test_dates_in_one_pass_pool_as_a_run_each(tmp_path: Path) -> None:
    """Each date by its own users: what comes later changes no older day's values."""
    days = [SPEC.window.start + timedelta(days=day) for day in range(6)]
    together = aggregates_of(DATA, SPEC, days, buckets=2)
    alone = [aggregates_of(DATA, SPEC, [day], buckets=2)[0] for day in days]
    assert [as_json(a, tmp_path) for a in together] == [as_json(b, tmp_path) for b in alone]
    assert together[0].pooled != together[-1].pooled


def test_any_order_of_rows_pools_the_same(tmp_path: Path) -> None:
    rng = random.Random(1)
    shuffled = Data(rng.sample(DATA.exposures, len(DATA.exposures)), DATA.outcomes)
    first, second = (aggregates_of(data, SPEC, [LAST], 3)[0] for data in (DATA, shuffled))
    assert as_json(first, tmp_path) == as_json(second, tmp_path)


def test_few_values_stay_as_they_are() -> None:
    few = with_values(MOST_VALUES - 1)  # and `unknown`
    (day,) = aggregates_of(few, SPEC, [LAST], 2)
    assert day.pooled == {}
    assert set(day.segment_values("tier")) == {u.attributes["tier"] for u in Naive(few, SPEC, LAST).users}


def test_a_bucket_of_few_values_pools_as_the_others_do() -> None:
    """Each of three buckets has 40 values, no two alike, so none alone has too many."""
    spec = replace(SPEC, metrics=SPEC.metrics[:1], segments=("tier",), analyses=AnalysisPlan(enabled=("ab",)))
    parts = [ValueCounts({f"{bucket} {i}": 100 - i for i in range(40)}) for bucket in "abc"]
    pool = pools_of([{"tier": part} for part in parts], spec)["tier"]["tier"]
    assert pool.kept == tuple(f"{bucket} {i}" for i in range(20) for bucket in "abc")[: MOST_VALUES - 1]
    assert pool.values == 120 - len(pool.kept)


def test_a_frequent_value_of_the_pools_name_is_not_mixed_up_with_it() -> None:
    def named(frequent: str) -> Data:
        """Every third user has this value."""
        return Data(
            [
                replace(e, attributes={"tier": frequent}) if e.attributes and int(e.user[5:]) % 3 == 0 else e
                for e in DATA.exposures
            ],
            DATA.outcomes,
        )

    def users(day: Aggregates, value: str) -> int:
        blocks = (day.block("converted", v.id, "tier", value) for v in SPEC.variants)
        return sum(block.moments.n for block in blocks if block is not None)

    (plain,), (taken,) = (aggregates_of(named(name), SPEC, [LAST], 2) for name in ("t 0", RARER))
    assert taken.pooled["tier"]["tier"] == replace(plain.pooled["tier"]["tier"], value=f"({RARER})")
    assert users(taken, RARER) == users(plain, "t 0") > 200
    assert users(taken, f"({RARER})") == users(plain, RARER) > 50


def test_crossed_strata_have_as_many_values_of_each_as_their_product_allows() -> None:
    """14 x 14 combinations of 400 x 400; of each attribute the most frequent, so one has fewer as strata than as a segment."""
    plan = replace(SPEC.analyses, strata=("device", "tier"))
    spec = replace(SPEC, analyses=plan)
    assert 14 * 14 <= MOST_STRATA < 15 * 15
    kept = {name: most_frequent(spec, LAST, name, 14) for name in ("device", "tier")}
    (pooled,) = aggregates_of(DATA, spec, [LAST], 3)
    (expected,) = aggregates_of(renamed(DATA, kept), spec, [LAST], 3)
    for a, b in zip(_strata(pooled, spec), _strata(expected, spec), strict=True):
        assert {**vars(a), "moments": a.moments.to_json()} == {**vars(b), "moments": b.moments.to_json()}
    told = pooled.pooled["device × tier"]
    assert {p.kept for p in told.values()} == {13}
    everybody = Naive(DATA, spec, LAST).everybody
    assert told["tier"].users == sum(u.attributes["tier"] not in kept["tier"] for u in everybody)
    assert pooled.pooled["tier"]["tier"].kept == MOST_VALUES - 1


def _strata(day: Aggregates, spec: Experiment) -> list[Any]:
    found = [b for b in day.blocks if b.segment == spec.analyses.strata_segment]
    assert found
    return found


def test_few_values_of_each_are_crossed_as_they_are_and_too_many_combinations_pooled() -> None:
    """30 and 30 values are no segments of too many, and their 900 combinations would be too many strata."""
    strata = replace(SPEC, analyses=replace(SPEC.analyses, strata=("device", "tier")))
    for values, told in ((12, {}), (30, {"device × tier"})):
        (day,) = aggregates_of(with_values(values), strata, [LAST], 2)
        assert set(day.pooled) == set(told)
        assert len({b.segment_value for b in _strata(day, strata)}) <= MOST_STRATA


def test_strata_of_behaviour_are_crossed_with_pooled_values() -> None:
    behaviour = Behaviour("frequent", ORDERS, 0.1, threshold=1.0)
    spec = replace(
        SPEC,
        segments=("tier", "frequent"),
        behaviours=(behaviour,),
        analyses=replace(SPEC.analyses, strata=("tier", "frequent")),
    )
    (day,) = aggregates_of(DATA, spec, [LAST], 2)
    assert set(day.pooled) == {"tier", "tier × frequent"}
    assert {v.rpartition(" × ")[2] for v in day.segment_values("tier × frequent")} == {"top", "rest"}
    assert set(day.segment_values("frequent")) == {"top", "rest"}


def test_a_segment_of_ids_is_counted_by_its_candidates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bucket returns stays small however many values there are; that there are more is told."""
    monkeypatch.setattr(pools, "MOST_COUNTED", 100)
    ids = Data(
        [replace(e, attributes={"tier": e.user, "device": "d"}) for e in DATA.exposures], DATA.outcomes
    )
    users = first_exposures(exposures_table(ids.exposures), SPEC, LAST)
    days = unit_days(users, outcomes_table(ids.outcomes), SPEC, LAST)
    part = aggregate(users, days, SPEC, LAST)
    assert (len(part.values["tier"].users), part.values["tier"].more) == (100, True)
    assert {b.segment for b in part.aggregates.blocks} == {"all", "device", "exposure_cohort"}
    (day,) = aggregates_of(ids, SPEC, [LAST], 2)
    told = day.pooled["tier"]["tier"]
    assert (told.more, told.users) == (True, len(users) - told.kept)
    assert "more than" in told.told("tier")


def test_replicates_of_a_synthetic_source_are_experiments_of_their_own() -> None:
    synthetic = SyntheticSource(
        n_users=1, seed=1, days=6, pre_period_days=4, exposure_rate=1.0, base_conversion=0.1,
        effect_lift_conversion=(0.0, 0.0), effect_lift_revenue=(0.0, 0.0), revenue_mean=1.0, revenue_sd=1.0,
        replicates=len(DATA.exposures),
    )  # fmt: skip
    spec = replace(SPEC, segments=(REPLICATE,), source=synthetic)
    many = Data([replace(e, attributes={REPLICATE: e.user}) for e in DATA.exposures], DATA.outcomes)
    (day,) = aggregates_of(many, spec, [LAST])
    assert day.pooled == {}
    assert len(day.segment_values(REPLICATE)) > 500
    daily = {block.segment for block in day.blocks if block.kind == "daily"}
    assert daily == {"all", REPLICATE}


def test_an_attribute_of_found_data_that_is_called_replicate_is_a_segment_like_any_other() -> None:
    spec = replace(SPEC, segments=(REPLICATE,))
    many = Data([replace(e, attributes={REPLICATE: e.user}) for e in DATA.exposures], DATA.outcomes)
    (day,) = aggregates_of(many, spec, [LAST])
    assert set(day.pooled) == {REPLICATE}
    assert {block.segment for block in day.blocks if block.kind == "daily"} == {"all"}


def test_of_equally_frequent_values_the_first_by_name_are_kept() -> None:
    attribute = Attribute(np.array([0, 1, 2, 2, 3]), ("a", "b", "c", "d"))
    pool = ValueCounts.of(attribute).pool(3)
    assert pool is not None
    assert pool.kept == ("c", "a")


def test_nobody_has_no_values_to_pool() -> None:
    (day,) = aggregates_of(Data([Exposure("u", "nowhere", DATA.exposures[0].at)], []), SPEC, [LAST])
    assert (day.blocks, day.pooled) == ((), {})
