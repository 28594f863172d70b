"""New rows added to what was published give what reading everything at once gives: rows, counts and reasons."""

from __future__ import annotations

from collections import Counter

import pytest

from exp_platform.config.experiment import Experiment
from exp_platform.errors import NotExactError
from exp_platform.kernels.base import ASIDE
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.published import Published
from kernels.histories import Raw, Stored, history

HISTORIES = 200


@pytest.mark.parametrize("part", range(8))
def test_any_history_of_arrivals_gives_what_all_at_once_gives(part: int) -> None:
    refreshes: Counter[str] = Counter()
    for seed in range(part, HISTORIES, 8):
        refreshes += followed(seed)
    increments = refreshes.pop("incremental")
    assert increments > sum(refreshes.values()), (
        refreshes
    )  # a test that always reads everything tells nothing


def followed(seed: int) -> Counter[str]:
    """How many of one history's runs added to what was there, and why the others could not."""
    made, stored, told = history(seed), None, Counter[str]()
    every: Raw = {}
    for now, raw in made.arrivals:
        every = {name: [*every.get(name, []), *raw.get(name, [])] for name in {*every, *raw}}
        whole = clean_bucket(every, made.experiment, now)
        expected = Stored.of(whole, made.experiment)
        if stored is None:
            stored = expected
            continue
        try:
            added = clean_bucket(raw, made.experiment, now, stored.base)
        except NotExactError as error:
            told[str(error)] += 1
            stored = expected
            continue
        told["incremental"] += 1
        stored = stored.and_(added, made.experiment)
        for field, value in vars(added.measured).items():
            if field != "examples":
                assert value == getattr(whole.measured, field), (seed, now, field)
        assert stored.counts == expected.counts, seed
        assert counting_rows(stored, made.experiment) == counting_rows(expected, made.experiment), seed
    return told


def counting_rows(stored: Stored, experiment: Experiment) -> dict[str, Counter[str]]:
    waiting = stored.tables[ASIDE].take(Published.of(stored.base, experiment).positions)
    return {
        name: Counter(map(str, table.to_pylist()))
        for name, table in {**stored.tables, ASIDE: waiting}.items()
    }
