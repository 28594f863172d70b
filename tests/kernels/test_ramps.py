"""Under a ramp every block is there for each period too; cohorts never span a change of the shares."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from exp_platform.aggregates import ALL, COHORT, Aggregates, read_aggregates, write_aggregates
from exp_platform.config.allocation import Allocation, in_period
from exp_platform.config.plans import AnalysisPlan
from exp_platform.kernels.local_days import date_of
from exp_platform.kernels.users import first_exposures
from exp_platform.stats.moments import Moments
from kernels.cases import aggregates_of, events_experiment, exposures_table
from kernels.test_merge import random_data

SPEC = events_experiment()
SECOND = SPEC.window.start + timedelta(days=2)
RAMP = replace(
    SPEC, ramp=(Allocation(SPEC.window.start, (0.8, 0.1, 0.1)), Allocation(SECOND, (0.4, 0.3, 0.3)))
)
STARTS = [str(a.start) for a in RAMP.ramp]
LAST = SPEC.last_as_of
DATA = random_data(400, seed=8)


def made(experiment=RAMP, buckets: int = 3) -> Aggregates:
    return aggregates_of(DATA, experiment, [LAST], buckets)[0]


def test_periods_of_a_block_are_its_users_by_the_day_of_first_exposure() -> None:
    """Each period's Moments are those of an experiment that only its users take part in."""
    day = made()
    users = first_exposures(exposures_table(DATA.exposures), RAMP, LAST)
    first = {
        name: str(date_of(int(on))) for name, on in zip(users.ids.to_pylist(), users.exposed_on, strict=True)
    }
    early = {name for name, on in first.items() if on < STARTS[1]}
    for start, among in ((STARTS[0], early), (STARTS[1], set(first) - early)):
        mine = replace(DATA, exposures=[e for e in DATA.exposures if e.user in among])
        # Caps are of all users; without them a part of the data gives what the whole gives of it.
        plain = replace(SPEC, metrics=tuple(m for m in SPEC.metrics if m.winsorise is None))
        alone = aggregates_of(mine, plain, [LAST])[0]
        for block in alone.blocks:
            if block.kind != "cohort":
                key = in_period(start, block.segment, block.segment_value)
                found = day.block(block.metric_id, block.variant_id, *key, block.kind)
                assert found is not None
                assert (found.moments.n, found.successes) == (block.moments.n, block.successes)
                np.testing.assert_allclose(found.moments.mean, block.moments.mean, rtol=1e-12, atol=1e-12)
                np.testing.assert_allclose(found.moments.m2, block.moments.m2, rtol=1e-9, atol=1e-9)
        assert day.periods[start].assigned == alone.assigned
        assert day.periods[start].crossovers == alone.crossovers


def test_periods_add_up_to_their_block_winsorised_ones_too() -> None:
    day = made()
    whole = [b for b in day.blocks if b.segment in (ALL, "device", "tier") and b.kind != "cohort"]
    assert {b.metric_id for b in whole} == {m.id for m in SPEC.metrics}
    for block in whole:
        keys = [in_period(start, block.segment, block.segment_value) for start in STARTS]
        parts = [day.block(block.metric_id, block.variant_id, *key, block.kind) for key in keys]
        together = Moments.merge_all(part.moments for part in parts if part is not None)
        assert together.n == block.moments.n
        np.testing.assert_allclose(together.mean, block.moments.mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(together.m2, block.moments.m2, rtol=1e-9, atol=1e-9)


def test_a_cohort_has_one_allocation() -> None:
    spec = replace(RAMP, analyses=AnalysisPlan(enabled=("ab", "stability"), did_days=3))
    third = SPEC.window.start + timedelta(days=3)
    ramp = (RAMP.ramp[0], Allocation(third, (0.4, 0.3, 0.3)))
    cohorts = made(replace(spec, ramp=ramp)).segment_values(COHORT, "cohort")
    regular = made(replace(spec, ramp=())).segment_values(COHORT, "cohort")
    assert str(third) not in regular
    assert cohorts == sorted([*regular, str(third)])


def test_without_a_ramp_nothing_of_it_is_there() -> None:
    day = made(SPEC)
    assert day.periods == {}
    assert {b.segment for b in day.blocks} == {ALL, "device", "tier", COHORT}


def test_periods_survive_the_file(tmp_path: Path) -> None:
    day = made()
    write_aggregates(tmp_path / "a.json", [day])
    assert read_aggregates(tmp_path / "a.json")[0].periods == day.periods
