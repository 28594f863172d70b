"""New rows added to what was published give what reading everything at once gives: rows, counts and reasons."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from exp_platform.config.experiment import Experiment
from exp_platform.errors import NotExactError
from exp_platform.kernels.base import ASIDE
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.conform import INSTANT
from exp_platform.kernels.published import Published
from exp_platform.kernels.sightings import COUNTS
from kernels.cases import EVENTS, events_experiment
from kernels.histories import FIRST, Raw, Stored, history

HISTORIES = 200


@pytest.mark.parametrize("part", range(8))
def test_any_history_of_arrivals_gives_what_all_at_once_gives(part: int) -> None:
    refreshes: Counter[str] = Counter()
    for seed in range(part, HISTORIES, 8):
        refreshes += followed(seed)
    increments, by_keys = refreshes.pop("incremental"), refreshes.pop("by keys alone")
    assert increments / 5 < by_keys < increments  # both ways were gone
    assert increments > sum(refreshes.values()), (
        refreshes
    )  # a test that always reads everything tells nothing


def followed(seed: int) -> Counter[str]:
    """How many of one history's runs added to what was there, and why the others could not."""
    made, stored, told = history(seed), None, Counter[str]()
    every: Raw = {}
    for number, (now, raw) in enumerate(made.arrivals):
        experiment = with_metrics_of(made.experiment, number, seed)
        every = {name: [*every.get(name, []), *raw.get(name, [])] for name in {*every, *raw}}
        whole = clean_bucket(every, experiment, now)
        expected = Stored.of(whole, experiment)
        if stored is None:
            stored = expected
            continue
        try:
            added = clean_bucket(raw, experiment, now, stored.base)
        except NotExactError as error:
            told[str(error)] += 1
            stored = expected
            continue
        told["incremental"] += 1
        if not any(table == "outcomes" and "user_id" in columns for table, *columns in stored.read):
            told["by keys alone"] += 1
        stored = stored.and_(added, experiment)
        for field, value in vars(added.measured).items():
            if field != "examples":
                assert value == getattr(whole.measured, field), (seed, now, field)
        assert stored.counts == expected.counts, seed
        assert by_user(stored) == by_user(expected), seed
        assert counting_rows(stored, experiment) == counting_rows(expected, experiment), seed
    return told


def with_metrics_of(experiment: Experiment, arrival: int, seed: int) -> Experiment:
    """In some histories metrics are edited on the way, and with them what is seen of outcomes."""
    edited = seed % 4 == 0 and arrival >= 2
    return replace(experiment, metrics=experiment.metrics[:2]) if edited else experiment


def by_user(stored: Stored) -> object:
    counts = json.loads(stored.footer[COUNTS])
    return sorted(map(str, stored.seen.to_pylist())), stored.footer | {COUNTS: counts}


def counting_rows(stored: Stored, experiment: Experiment) -> dict[str, Counter[str]]:
    published, _ = Published.beside(stored.base, {"outcomes": stored.tables["outcomes"]}, experiment)
    waiting = stored.tables[ASIDE].take(published.positions)
    return {
        name: Counter(map(str, table.to_pylist()))
        for name, table in {**stored.tables, ASIDE: waiting}.items()
    }


def test_an_exposure_at_the_same_instant_that_makes_a_users_arm_another_one() -> None:
    """The variant that the spec lists first wins, so what was seen of the user's outcomes is another arm's now."""
    experiment = replace(
        events_experiment(timezone="UTC"), source=replace(EVENTS, dedupe="none"), segments=()
    )
    at = FIRST + timedelta(days=1, seconds=7)
    happened = pa.table(
        {
            "user_id": ["u"] * 2,
            "event": ["purchase", "view"],
            "occurred_at": pa.array([at - timedelta(seconds=1), at + timedelta(hours=2)], INSTANT),
            "value": [1.0, 1.0],
        }
    )

    def exposed(variant: str) -> pa.Table:
        return pa.table({"user_id": ["u"], "variant_id": [variant], "exposed_at": pa.array([at], INSTANT)})

    first: Raw = {"exposures": [exposed("blue")], "outcomes": [happened]}
    then: Raw = {"exposures": [exposed("control")], "outcomes": [happened.slice(0, 0)]}
    now = at + timedelta(days=3)
    stored = Stored.of(clean_bucket(first, experiment, now), experiment)
    added = clean_bucket(then, experiment, now, stored.base)
    whole = clean_bucket({name: [*first[name], *then[name]] for name in first}, experiment, now)
    assert added.measured == whole.measured
    assert set(whole.measured.around) == {"control"}
