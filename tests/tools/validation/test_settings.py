"""The pipeline's level: replicates are whole experiments, and a few of them go all the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.config.sources import REPLICATE, SyntheticSource
from exp_platform.stats.moments import Moments
from exp_platform.synth.rows import chunk_rows
from exp_validation.replicates import replicates_of
from exp_validation.settings import PLANNED_FIRST, START, settings
from exp_validation.verdicts import ALWAYS, BY_DAY, DECIDED, FIXED, over_all_looks


def block(variant: str, segment: str, value: str, users: list[float], metric: str = "m") -> Block:
    return Block("total", metric, variant, segment, value, ("value",), Moments.of(users), successes=1)


def test_a_replicate_is_an_experiment_of_its_own() -> None:
    """Its blocks become those of everybody; who was assigned follows from the metric that counts all users."""
    day = Aggregates(
        START,
        {"control": 5, "treatment": 4},
        {},
        (
            block("control", ALL, ALL, [1, 2, 3, 4, 5]),
            block("control", "device", "phone", [1, 2, 3]),
            block("control", REPLICATE, "0", [1, 2, 3]),
            block("control", REPLICATE, "1", [4, 5]),
            block("treatment", REPLICATE, "0", [7, 8]),
            block("treatment", REPLICATE, "0", [7], "mature"),
            block("treatment", REPLICATE, "1", [9, 9]),
        ),
    )
    first, second = replicates_of(day)
    assert first.assigned == {"control": 3, "treatment": 2}
    assert second.assigned == {"control": 2, "treatment": 2}
    found = first.block("m", "treatment")
    assert found is not None
    assert found.moments.mean[0] == 7.5
    assert {b.segment for b in (*first.blocks, *second.blocks)} == {ALL}


def test_synthetic_users_are_dealt_to_replicates_and_may_all_come_on_day_one() -> None:
    experiment = settings()[1].experiment(7)
    assert isinstance(experiment.source, SyntheticSource)
    exposures = chunk_rows(experiment, 0).exposures
    counts = exposures.group_by("replicate").aggregate([("user_id", "count")]).to_pydict()
    assert sorted(counts["replicate"]) == list("0123456")
    assert set(counts["user_id_count"]) == {600}
    assert max(exposures["exposed_at"].to_pylist()).date() == START
    plain = replace(experiment, source=replace(experiment.source, replicates=1))
    assert "replicate" not in chunk_rows(plain, 0).exposures.column_names


def test_looking_daily_at_a_fixed_horizon_p_is_found_out() -> None:
    """Two replicates of a hundred are called on each of ten days: 20 % in the end."""
    looks = []
    for day in range(10):
        called = [i // 2 == day for i in range(100)]
        looks.append(
            {DECIDED: called, ALWAYS: [False] * 100, "false alarms, srm": [False] * 100, FIXED: called}
        )
    checks = {c.measure: c for c in over_all_looks("cell", looks)}
    assert checks[f"{DECIDED}, at any look"].rate == 0.2
    assert not checks[f"{DECIDED}, at any look"].holds(100)
    assert checks[f"{ALWAYS}, at any look"].holds(100)
    assert [checks[f"{FIXED}{BY_DAY}{day}"].rate for day in (1, 5, 10)] == pytest.approx([0.02, 0.1, 0.2])


@pytest.mark.simulations
def test_a_few_replicates_through_the_whole_pipeline() -> None:
    setting = next(s for s in settings() if s.daily)
    checks = {c.measure: c for c in setting.checks(6)}
    assert {c.of for c in checks.values()} == {6}
    assert [c for c in checks.values() if not c.holds(1000)] == []
    assert f"{DECIDED}, end extended after the test" in checks
    assert PLANNED_FIRST < 14
