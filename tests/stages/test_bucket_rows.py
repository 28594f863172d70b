"""Unit days brought forward night after night are those of all rows at once, whatever comes and whenever."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from exp_platform.kernels import stored_days
from exp_platform.kernels.stored_days import origin_key
from exp_platform.kernels.unit_days import unit_day_rows
from kernels.cases import (
    EVENT_METRICS,
    OTHER_METRICS,
    Exposure,
    Outcome,
    exposures_table,
    local,
    outcomes_table,
)
from stages.nights import SPEC, UNTIL, Nights, check

# Of the events that the spec reads one is not read
FEWER = replace(SPEC, metrics=tuple(m for m in SPEC.metrics if "view" not in str(m)))


def some_exposures(dice: random.Random, day: int) -> list[Exposure]:
    """Mostly of this day; some earlier than what was known, some outside the window, some to a variant that nobody knows."""
    variants = ["control", "blue", "amber", "blue", "retired"]
    return [
        Exposure(
            f"u{dice.randrange(25)}",
            dice.choice(variants),
            local(SPEC, dice.choice([day, day, day, day - 1, 0, -1]), dice.choice([0, 5.5, 12, 23.99])),
        )
        for _ in range(dice.choice([0, 3, 6]))
    ]


def some_outcomes(dice: random.Random, day: int) -> list[Outcome]:
    """Of this day and days before, of users who are known or not, of events that are read or not."""
    return [
        Outcome(
            f"u{dice.randrange(30)}",
            dice.choice(["view", "order", "purchase", "unread"]),
            local(SPEC, dice.choice([day, day, day - 1, day - 3, -2, -30, day + 1]), dice.random() * 24),
            dice.choice([None, dice.random(), 1.0]),
        )
        for _ in range(dice.choice([0, 8, 30]))
    ]


def damage(dice: random.Random, nights: Nights) -> None:
    """As disks do it, or who repairs a table, which takes a file out; nights after it may still be brought forward."""
    name = dice.choice(nights.stored)
    if dice.random() < 0.5:
        Path(name).write_bytes(Path(name).read_bytes()[: dice.choice([0, 100])])
    else:
        nights.stored = tuple(other for other in nights.stored if other != name)


@pytest.mark.parametrize("seed", range(60))
def test_night_after_night_equals_everything_at_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(stored_days, "SMALL", dice.choice([1, 15, 50_000]))
    monkeypatch.setattr(stored_days, "FILES", dice.choice([3, 8]))
    nights = Nights(tmp_path, dice.choice([SPEC, FEWER]))
    nights.arrive([Exposure("u0", "blue", local(SPEC, 0, 3))], some_outcomes(dice, 0))
    nights.night()
    for day in range(dice.randint(3, 8)):
        if dice.random() < 0.2:  # metrics are added, or go
            nights.experiment = dice.choice([SPEC, FEWER])
        nights.arrive(some_exposures(dice, day), some_outcomes(dice, day))
        if nights.outcomes and dice.random() < 0.1:  # as maintenance makes few files of many
            nights.outcomes = {f"compacted{day}": pa.concat_tables(nights.outcomes.values())}
        if (
            dice.random() < 0.1 and len(nights.outcomes) > 1
        ):  # as a full refresh does without a corrected file
            del nights.outcomes[dice.choice(sorted(nights.outcomes))]
        if dice.random() < 0.15 and nights.stored:
            damage(dice, nights)
        check(nights, nights.night(), SPEC.window.start + timedelta(days=day))


def test_a_night_reads_the_new_files_alone(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.arrive([Exposure("u", "blue", local(SPEC, 1, 3))], [Outcome("u", "view", local(SPEC, 1, 4))])
    nights.night()
    assert nights.read == ["o1"]
    nights.arrive([Exposure("v", "blue", local(SPEC, 2, 3))], [Outcome("u", "view", local(SPEC, 2, 4))])
    check(nights, nights.night(), SPEC.window.end)
    assert nights.read == ["o2"]
    stored = nights.stored
    nights.night()
    assert nights.read == []
    assert nights.stored == stored


def test_of_an_event_that_was_not_read_the_rows_are_read_and_the_days_of_others_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_days, "SMALL", 1)
    nights = Nights(tmp_path, FEWER)
    happened = [Outcome("u", event, local(SPEC, 1, 4)) for event in ("view", "order", "unread")]
    nights.arrive([Exposure("u", "blue", local(SPEC, 1, 3))], happened)
    nights.night()
    (before,) = nights.stored
    nights.experiment = SPEC
    check(nights, nights.night(), SPEC.window.end)
    assert nights.read == ["o1"]
    assert nights.stored[0] == before
    assert nights.rows_of(nights.stored[1])["event"].to_pylist() == ["view"]
    nights.arrive([Exposure("u", "blue", local(SPEC, 0, 3))], [])  # all of a moved user's rows, each once
    check(nights, nights.night(), SPEC.window.end)


def test_of_a_moved_user_all_rows_are_read_again(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    views = [Outcome(user, "view", local(SPEC, 2, 4)) for user in "uv"]
    nights.arrive([Exposure(user, "blue", local(SPEC, 1, 3)) for user in "uv"], views)
    nights.night()
    nights.arrive([Exposure("u", "blue", local(SPEC, 0, 3))], [])
    found = nights.night()
    assert nights.read == ["o1"]
    assert found.days.events["view"].day.tolist() == [2, 1]
    check(nights, found, SPEC.window.end)


@pytest.mark.parametrize("other_order", [False, True])
def test_users_who_stand_in_another_order_are_told_apart_by_their_ids(
    other_order: bool, tmp_path: Path
) -> None:
    """Whatever has changed it: a number that is somebody else's now is not believed."""
    nights = Nights(tmp_path)
    for day, user in enumerate("wv", start=1):
        nights.arrive(
            [Exposure(user, "blue", local(SPEC, day, 3))],
            [Outcome(user, "view", local(SPEC, day, 4 + day))],
        )
        nights.night()
    nights.arrive([Exposure("x", "amber", local(SPEC, 0, 3))], [Outcome("x", "view", local(SPEC, 3, 4))])
    if other_order:
        nights.exposures = dict(sorted(nights.exposures.items(), reverse=True))
    check(nights, nights.night(), SPEC.window.end)
    assert nights.read == (["o1", "o2", "o3"] if other_order else ["o3"])


@pytest.mark.parametrize(
    "what", ["key", "rows that were later", "gone", "damaged", "no origin", "another column"]
)
def test_what_cannot_be_added_to_is_made_anew(what: str, tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    later = UNTIL - SPEC.window.start + timedelta(days=1)
    came = [Outcome("u", "view", local(SPEC, day, 4)) for day in (1, later.days)]
    nights.arrive([Exposure("u", "blue", local(SPEC, 1, 3))], came if "later" in what else came[:1])
    nights.night()
    assert nights.stored
    stored = Path(nights.stored[0])
    if what == "key":
        nights.key = origin_key(SPEC, "another version")
    elif what == "rows that were later":
        nights.until = UNTIL + timedelta(days=1)
    elif what == "gone":
        stored.unlink()
    elif what == "damaged":
        stored.write_bytes(b"PAR1 nothing of it PAR1")
    else:
        rows = unit_day_rows(nights.night().users, nights.night().days, SPEC)
        nights.stored = (nights.writer.write(0, rows),)
        if what == "another column":
            import pyarrow.parquet as pq

            pq.write_table(rows.rename_columns([*rows.column_names[:-1], "total"]), nights.stored[0])
    nights.arrive([], [Outcome("u", "view", local(SPEC, 3, 4))])
    found = nights.night()
    assert nights.read == ["o1", "o2"]
    assert int(found.days.events["view"].n.sum()) == (3 if "later" in what else 2)


def test_days_of_which_the_table_has_not_all_are_made_of_rows(tmp_path: Path) -> None:
    for metrics in (OTHER_METRICS, (*EVENT_METRICS, *OTHER_METRICS)):
        nights = Nights(tmp_path, replace(SPEC, metrics=metrics))
        outcomes = outcomes_table([Outcome("u", "order", local(SPEC, 1, 4), 1.0, "i")])
        nights.exposures["e"] = exposures_table([Exposure("u", "blue", local(SPEC, 1, 3))])
        nights.outcomes["o"] = outcomes
        for _ in range(2):
            assert nights.night().origin is None
            assert nights.read == ["o"]
