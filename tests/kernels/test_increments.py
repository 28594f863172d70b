"""New rows added to what was published give what reading everything at once gives: rows, counts and reasons."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Measure, Metric
from exp_platform.errors import NotExactError
from exp_platform.kernels.base import ASIDE
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.conform import INSTANT
from exp_platform.kernels.nothing_new import MEASURED, as_published
from exp_platform.kernels.published import Published
from exp_platform.kernels.sightings import COUNTS
from kernels.cases import EVENTS, events_experiment, metric
from kernels.histories import FIRST, Raw, Stored, history

HISTORIES = 200
UNREAD = Measure("unread", "count")


@pytest.mark.parametrize("part", range(8))
def test_any_history_of_arrivals_gives_what_all_at_once_gives(part: int) -> None:
    refreshes: Counter[str] = Counter()
    for seed in range(part, HISTORIES, 8):
        refreshes += followed(seed)
    known = {name: refreshes.pop(name) for name in [*refreshes] if name.startswith("nothing came")}
    ways = ("later", "an event more", "a longer window")
    assert all(known[f"nothing came: {way}"] for way in ways), known
    assert "nothing came: earlier" not in known  # by a clock that goes back
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
        expected = Stored.of(whole, experiment, now)
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
        stored = stored.and_(added, experiment, now)
        for field, value in vars(added.measured).items():
            if field != "examples":
                assert value == getattr(whole.measured, field), (seed, now, field)
        assert stored.counts == expected.counts, seed
        assert by_user(stored) == by_user(expected), seed
        assert counting_rows(stored, experiment) == counting_rows(expected, experiment), seed
        if number == 1 + seed % 2:
            told += nothing_came(stored, every, experiment, now, seed)
    return told


def nothing_came(
    stored: Stored, every: Raw, experiment: Experiment, now: datetime, seed: int
) -> Counter[str]:
    """What runs are told that read nothing new, later or with other metrics: what reading everything gives, or nothing."""
    first, *others = experiment.metrics
    asked = {
        "later": (experiment, now + timedelta(days=2)),
        "earlier": (experiment, now - timedelta(days=3)),
        "a metric fewer": (replace(experiment, metrics=(first,)), now),
        "an event more": (
            replace(experiment, metrics=(*experiment.metrics, metric("seen", "count", UNREAD))),
            now,
        ),
        "a longer window": (replace(experiment, metrics=(longer(first), *others)), now),
    }
    known: Counter[str] = Counter()
    for name, (edited, then) in asked.items():
        try:
            found = as_published(stored.base, edited, then)
        except NotExactError:
            continue
        if found is not None:
            known["nothing came: " + name] += 1
            whole = clean_bucket(every, edited, then).measured
            assert replace(found, examples={}) == replace(whole, examples={}), (seed, name)
    return known


def longer(of: Metric) -> Metric:
    """The same over more days, so that outcomes are followed for longer."""
    return replace(of, window=DayWindow(of.window.start, 11))


def with_metrics_of(experiment: Experiment, arrival: int, seed: int) -> Experiment:
    """In some histories metrics are edited on the way, and with them what is seen of outcomes."""
    edited = seed % 4 == 0 and arrival >= 2
    return replace(experiment, metrics=experiment.metrics[:2]) if edited else experiment


def by_user(stored: Stored) -> object:
    said = {name: json.loads(stored.footer[name]) for name in (COUNTS, MEASURED)}
    return sorted(map(str, stored.seen.to_pylist())), stored.footer | said


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
    stored = Stored.of(clean_bucket(first, experiment, now), experiment, now)
    added = clean_bucket(then, experiment, now, stored.base)
    whole = clean_bucket({name: [*first[name], *then[name]] for name in first}, experiment, now)
    assert added.measured == whole.measured
    assert set(whole.measured.around) == {"control"}
